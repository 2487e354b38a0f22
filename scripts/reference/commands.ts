import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Command } from '@oclif/core/command';

/** What a command says of itself, as oclif's manifest has it too. */
export interface CommandPage {
  /** Words after `dopt`: "llm quantize". */
  name: string;
  summary: string;
  description: string;
  examples: string[];
  args: { name: string; required: boolean; description: string }[];
  flags: FlagRow[];
}

export interface FlagRow {
  name: string;
  aliases: string[];
  char: string | undefined;
  /** Takes a value. */
  value: boolean;
  allowNo: boolean;
  multiple: boolean;
  required: boolean;
  options: string[];
  default: string;
  description: string;
  group: string;
}

/** All commands from their sources, in the order of their names. */
export async function readCommands(root: string): Promise<CommandPage[]> {
  const folder = join(root, 'src/commands');
  const files = readdirSync(folder, { recursive: true }).map(String);
  const pages = files
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
    .map(async (file) => {
      const { default: command } = (await import(pathToFileURL(join(folder, file)).href)) as {
        default: typeof Command;
      };
      const words = file.replace(/\.ts$/, '').split('/');
      return page(words.filter((word) => word !== 'index').join(' '), command);
    });
  return (await Promise.all(pages)).sort((a, b) => (a.name < b.name ? -1 : 1));
}

function page(name: string, command: typeof Command): CommandPage {
  const inThis = (text: string): string =>
    text.replaceAll('<%= config.bin %>', 'dopt').replaceAll('<%= command.id %>', name);
  const examples = (command.examples ?? []).map((example) =>
    inThis(typeof example === 'string' ? example : example.command),
  );
  const flags = Object.entries({ ...command.baseFlags, ...command.flags } as Record<string, FlagSource>);
  return {
    name,
    summary: inThis(command.summary ?? ''),
    description: inThis(command.description ?? ''),
    examples,
    args: Object.entries(command.args ?? {}).map(([arg, { required, description }]) => ({
      name: arg,
      required: required === true,
      description: description ?? '',
    })),
    flags: [
      ...flags.map(([flag, source]) => flagRow(flag, source)),
      ...(command.enableJsonFlag ? [JSON_FLAG] : []),
    ],
  };
}

interface FlagSource {
  type: 'boolean' | 'option';
  char?: string;
  aliases?: readonly string[];
  allowNo?: boolean;
  multiple?: boolean;
  required?: boolean;
  options?: readonly string[];
  default?: unknown;
  description?: string;
  summary?: string;
  helpGroup?: string;
}

const flagRow = (name: string, flag: FlagSource): FlagRow => ({
  name,
  aliases: [...(flag.aliases ?? [])],
  char: flag.char,
  value: flag.type === 'option',
  allowNo: flag.allowNo === true,
  multiple: flag.multiple === true,
  required: flag.required === true,
  options: [...(flag.options ?? [])],
  default: ['string', 'number'].includes(typeof flag.default) ? String(flag.default) : '',
  description: flag.summary ?? flag.description ?? '',
  group: flag.helpGroup ?? '',
});

const JSON_FLAG: FlagRow = {
  ...flagRow('json', { type: 'boolean', helpGroup: 'GLOBAL' }),
  description: 'print the result, or the error, as JSON',
};

const cell = (text: string): string => text.replaceAll('|', '\\|').replace(/\s*\n\s*/g, ' ');

/** docs/reference/commands.md */
export function commandsPage(commands: readonly CommandPage[]): string {
  const index = commands.map(
    ({ name, summary }) => `| [\`dopt ${name}\`](#${anchor(name)}) | ${cell(summary)} |`,
  );
  return [
    '# Commands and flags',
    '',
    '<!-- not run: examples with files of yours; a test checks their commands and flags -->',
    '',
    'Every command with its arguments and flags, as `dopt COMMAND --help` prints them. Results go to standard output, progress',
    'and errors to standard error; `--json` prints one object, `{"error": …}` where it fails.',
    '',
    '| command | |',
    '|---|---|',
    ...index,
    '',
    ...commands.flatMap(commandSection),
  ].join('\n');
}

export const anchor = (name: string): string => `dopt-${name.replaceAll(' ', '-')}`;

function commandSection({ name, summary, description, examples, args, flags }: CommandPage): string[] {
  const usage = args.map(({ name: arg, required }) =>
    required ? arg.toUpperCase() : `[${arg.toUpperCase()}]`,
  );
  return [
    `## dopt ${name}`,
    '',
    `\`dopt ${[name, ...usage].join(' ')}\`: ${summary}.`,
    ...(description ? ['', description] : []),
    '',
    ...(examples.length > 0 ? ['```sh', ...examples, '```', ''] : []),
    ...(args.length > 0 ? ['| argument | |', '|---|---|'] : []),
    ...args.map(({ name: arg, description: text }) => `| \`${arg.toUpperCase()}\` | ${cell(text)} |`),
    ...(args.length > 0 ? [''] : []),
    '| flag | | default |',
    '|---|---|---|',
    ...flags.map(flagLine),
    '',
  ];
}

function flagLine(flag: FlagRow): string {
  const name = flag.allowNo ? `--[no-]${flag.name}` : `--${flag.name}`;
  const short = flag.char ? `-${flag.char}, ` : '';
  const choice = flag.options.length > 0 ? flag.options.map((one) => `\`${one}\``).join(', ') : '';
  const notes = [
    flag.description,
    choice && `one of ${choice}`,
    flag.multiple && 'may be repeated',
    flag.required && '**needed**',
  ];
  const text = notes.filter(Boolean).join('; ');
  return `| \`${short}${name}${flag.value ? ' …' : ''}\` | ${cell(text)} | ${flag.default && `\`${flag.default}\``} |`;
}
