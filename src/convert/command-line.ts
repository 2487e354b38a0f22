/** What goes on the converter's command line (omg of the DDK, 1.6 of its documentation: flags with underscores). */
export interface CommandLine {
  model: string;
  /** 3: TensorFlow, 5: ONNX. */
  framework: 3 | 5;
  weight: string | null;
  /** Path of the result without its ending. */
  output: string;
  compressConf: string | null;
  inputShapes: readonly { name: string; shape: readonly number[] }[];
  outputs: readonly string[];
  platform: string | null;
}

/** Name of the converter. */
export const CONVERTER = 'omg';

/** The converter's arguments, flags in the order of its documentation. */
export function converterArguments(line: CommandLine): string[] {
  const shapes = line.inputShapes.map(({ name, shape }) => `${name}:${shape.join(',')}`);
  const flags: [string, string | null][] = [
    ['model', line.model],
    ['weight', line.weight],
    ['framework', String(line.framework)],
    ['output', line.output],
    ['compress_conf', line.compressConf],
    ['input_shape', shapes.join(';') || null],
    ['out_nodes', line.outputs.join(';') || null],
    ['platform', line.platform],
  ];
  return flags.flatMap(([flag, value]) => (value === null ? [] : [`--${flag}=${value}`]));
}

/** A command as it can be pasted into a POSIX shell. */
export const shellLine = (words: readonly string[]): string => words.map(shellWord).join(' ');

const shellWord = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
