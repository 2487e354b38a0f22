import { OutputTail } from '../bridge/output-tail.js';
import { EnvironmentError, EXIT, ExternalError, UserError } from '../errors.js';

export interface ConverterOptions {
  signal?: AbortSignal;
  onOutput?: (chunk: Buffer) => void;
}

/**
 * Runs the user's converter to its end; what it prints goes to `onOutput` as it comes.
 * @throws EnvironmentError CONVERTER_NOT_FOUND; ExternalError CONVERTER_FAILED; UserError INTERRUPTED
 */
export async function runConverter(
  command: string,
  args: readonly string[],
  { signal, onOutput }: ConverterOptions,
): Promise<void> {
  const { execa } = await import('execa');
  const child = execa(command, args, {
    stdin: 'ignore',
    buffer: false,
    reject: false,
    ...(signal ? { cancelSignal: signal } : {}),
  });
  const tail = new OutputTail();
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      tail.push(chunk);
      onOutput?.(chunk);
    });
  }
  const end = await child;
  if (end.isCanceled) {
    throw new UserError('INTERRUPTED', `${command} was interrupted.`, { exitCode: EXIT.interrupted });
  }
  const code = end.code ?? (end.cause as NodeJS.ErrnoException | undefined)?.code;
  if (code === 'ENOENT' || code === 'EACCES') {
    throw new EnvironmentError('CONVERTER_NOT_FOUND', `There is no ${command} on the PATH that can be run.`, {
      cause: end.cause,
      suggestions: [
        `Add the folder of the DDK that holds ${command} to PATH.`,
        'Or leave --run out and run the printed command where the DDK is installed.',
      ],
    });
  }
  if (end.exitCode === 0) return;
  const how = end.signal ? `was ended by ${end.signal}` : `ended with code ${end.exitCode}`;
  throw new ExternalError('CONVERTER_FAILED', `${command} ${how}.`, {
    found: tail.lastLines(5).replaceAll('\n', ' | ') || 'it printed nothing',
    suggestions: ['What it printed above says why; the list of its operators is in its documentation.'],
  });
}
