import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { childEnvironment } from './child-environment.js';
import { OutputTail } from './output-tail.js';
import { PythonFailure } from './python-errors.js';

/** A command that ended badly, or could not be started. */
export class StepFailure extends Error {
  constructor(
    /** What it printed last, or why it could not be started. */
    readonly lastLines: string,
    override readonly cause: PythonFailure,
  ) {
    super(lastLines);
  }
}

/** Runs one command that builds an environment. @throws StepFailure */
export async function runStep(
  command: string,
  args: string[],
  {
    onLine = () => {},
    variables = {},
  }: { onLine?: (line: string) => void; variables?: Record<string, string> } = {},
): Promise<void> {
  const { execa } = await import('execa');
  const tail = new OutputTail();
  const child = execa(command, args, {
    env: childEnvironment({ extra: { PYTHONPATH: '', ...variables } }),
    extendEnv: false,
    stdin: 'ignore',
    all: true,
    buffer: false,
    reject: false,
  });
  const lines = createInterface({ input: child.all as unknown as Readable });
  lines.on('line', (line) => {
    tail.push(Buffer.from(`${line}\n`));
    onLine(line);
  });
  const result = await child;
  lines.close();
  if (!result.failed) return;
  const reason =
    child.pid === undefined ? (result.shortMessage ?? 'it cannot be started') : tail.lastLines(8);
  throw new StepFailure(reason, new PythonFailure(result.shortMessage ?? command, '', tail.text()));
}
