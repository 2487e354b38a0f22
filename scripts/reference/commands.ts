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

const TUNES = 'takes what its budget says; test/tune.test.ts tunes for seconds';

/** Examples that no test runs as they stand, and why. */
const NOT_RUN = new Map([
  ['dopt convert runs/net --compress-conf net_param --platform kirin9020 --run', 'needs `omg` of a DDK'],
  ['dopt env create onnx --force', 'installs packages'],
  ['dopt plugin check train.py --env system --steps 5 -- --epochs 1', 'needs a Python of yours with PyTorch'],
  ['dopt runs replay runs/net --env docker --out runs/net-in-docker', 'needs a container engine'],
  ['dopt tune net.onnx --recipe mobilenet --data pictures/ --budget 10m --out runs/tuned', TUNES],
  [
    'dopt tune net.onnx --data train/ --verify-data val/ --labels val.txt --metric my_metric.py --budget 1h --out runs/tuned',
    TUNES,
  ],
]);

/** docs/reference/commands.md; throws an Error where an example is said not to be run that no command has. */
export function commandsPage(commands: readonly CommandPage[]): string {
  const examples = new Set(commands.flatMap((command) => command.examples));
  const gone = [...NOT_RUN.keys()].filter((example) => !examples.has(example));
  if (gone.length > 0) throw new Error(`no command has this example: ${gone.join('; ')}`);
  const index = commands.map(
    ({ name, summary }) => `| [\`dopt ${name}\`](#${anchor(name)}) | ${cell(summary)} |`,
  );
  return [
    '# Commands and flags',
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
    ...examplesOf(examples),
    ...(args.length > 0 ? ['| argument | |', '|---|---|'] : []),
    ...args.map(({ name: arg, description: text }) => `| \`${arg.toUpperCase()}\` | ${cell(text)} |`),
    ...(args.length > 0 ? [''] : []),
    '| flag | | default |',
    '|---|---|---|',
    ...flags.map(flagLine),
    '',
  ];
}

/** Examples as blocks: those that a test runs, and each other one with why not. */
function examplesOf(examples: readonly string[]): string[] {
  const run = examples.filter((example) => !NOT_RUN.has(example));
  const others = examples.filter((example) => NOT_RUN.has(example));
  return [
    ...(run.length > 0 ? ['```sh run', ...run, '```', ''] : []),
    ...others.flatMap((example) => [
      `<!-- not run: ${NOT_RUN.get(example)} -->`,
      '```sh',
      example,
      '```',
      '',
    ]),
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
