/** A command as completion sees it: words joined by spaces, its flags, and what each flag may be. */
export interface CompletedCommand {
  id: string;
  summary: string;
  flags: { name: string; summary: string; takesValue: boolean; options: readonly string[] }[];
}

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** A script that completes commands, flags and values of flags; paths everywhere else. Pure. */
export function completionScript(shell: Shell, bin: string, commands: readonly CompletedCommand[]): string {
  const sorted = [...commands].sort((a, b) => (a.id < b.id ? -1 : 1));
  return { bash, zsh, fish }[shell](bin, sorted);
}

/** The words that may follow each beginning of a command: `'' -> llm, quantize`, `llm -> eval, plan`. */
function nextWords(commands: readonly CompletedCommand[]): Map<string, string[]> {
  const next = new Map<string, Set<string>>();
  for (const { id } of commands) {
    const words = id.split(' ');
    words.forEach((word, i) => {
      const before = words.slice(0, i).join(' ');
      next.set(before, (next.get(before) ?? new Set()).add(word));
    });
  }
  return new Map([...next].map(([before, words]) => [before, [...words].sort()]));
}

/** One `case` over the words so far for flags, one for values, one for the next word. */
function bash(bin: string, commands: readonly CompletedCommand[]): string {
  const flags = commands.map(
    ({ id, flags: all }) => `    "${id}") flags="${all.map(({ name }) => `--${name}`).join(' ')}" ;;`,
  );
  const values = commands.flatMap(({ id, flags: all }) =>
    all
      .filter(({ options }) => options.length > 0)
      .map(({ name, options }) => `    "${id} --${name}") values="${options.join(' ')}" ;;`),
  );
  const next = [...nextWords(commands)].map(
    ([before, words]) => `    "${before}") words="${words.join(' ')}" ;;`,
  );
  return `# Completion of ${bin} for bash: source <(${bin} completion bash)
_${bin}() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" command="" word flags="" values="" words=""
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    [[ $word == -* ]] && break
    case "$command $word" in
${[...nextWords(commands)]
  .flatMap(([before, words]) =>
    words.map((word) => `      "${before} ${word}") command="\${command:+$command }$word" ;;`),
  )
  .join('\n')}
      *) break ;;
    esac
  done
  case "$command" in
${flags.join('\n')}
  esac
  case "$command $previous" in
${values.join('\n')}
  esac
  case "$command" in
${next.join('\n')}
  esac
  if [[ -n $values ]]; then COMPREPLY=($(compgen -W "$values" -- "$current"))
  elif [[ $current == -* ]]; then COMPREPLY=($(compgen -W "$flags" -- "$current"))
  elif [[ -n $words && $previous != -* ]]; then COMPREPLY=($(compgen -W "$words" -- "$current"))
  else COMPREPLY=()
  fi
}
complete -o default -F _${bin} ${bin}
`;
}

/** zsh runs the script of bash. */
const zsh = (bin: string, commands: readonly CompletedCommand[]): string =>
  `# Completion of ${bin} for zsh: source <(${bin} completion zsh)\nautoload -U +X bashcompinit && bashcompinit\n${bash(bin, commands)}`;

function fish(bin: string, commands: readonly CompletedCommand[]): string {
  const quoted = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
  const condition = (words: string): string => {
    const seen = words === '' ? [] : words.split(' ').map((word) => `__fish_seen_subcommand_from ${word}`);
    return seen.length === 0 ? '__fish_use_subcommand' : seen.join('; and ');
  };
  const summaries = new Map(commands.map(({ id, summary }) => [id, summary]));
  const next = [...nextWords(commands)].flatMap(([before, words]) => {
    const without = before === '' ? '' : `; and not __fish_seen_subcommand_from ${words.join(' ')}`;
    return words.map((word) => {
      const summary = summaries.get(before === '' ? word : `${before} ${word}`) ?? `${word} …`;
      return `complete -c ${bin} -f -n ${quoted(condition(before) + without)} -a ${word} -d ${quoted(summary)}`;
    });
  });
  const flags = commands.flatMap(({ id, flags: all }) =>
    all.map(({ name, summary, takesValue, options }) => {
      const value = options.length > 0 ? ` -x -a ${quoted(options.join(' '))}` : takesValue ? ' -r' : '';
      return `complete -c ${bin} -n ${quoted(condition(id))} -l ${name}${value} -d ${quoted(summary)}`;
    }),
  );
  return `# Completion of ${bin} for fish: ${bin} completion fish | source\n${[...next, ...flags].join('\n')}\n`;
}
