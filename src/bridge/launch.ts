import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { type ChildEnvironmentOptions, childEnvironment } from './child-environment.js';
import { containerArguments } from './container/command.js';
import type { Environment } from './stamps.js';

/** How a job's process is started, here or in a container. */
export interface Launch {
  command: string;
  args: string[];
  env: Record<string, string>;
  /** Descriptor of the child that events come from; a container passes the first three on, and no others. */
  events: 1 | 3;
  /** Ends what the command started when it itself had to be killed and could not do so. */
  killed(): void;
}

/** What of an environment says how Python starts in it. */
export type Interpreter = Pick<Environment, 'python' | 'kind' | 'container'>;

/** What is started: by default `dopt.job`, with a file that holds `method` with `params`, or with `--serve`. */
export interface Started {
  module?: string | undefined;
  argument: string;
  method: string;
  params: unknown;
}

/** The command that runs a module of dopt's with one argument; in a container it is always `dopt.job`. */
export function launch(
  environment: Interpreter,
  { module = 'dopt.job', argument, method, params }: Started,
  options: Omit<ChildEnvironmentOptions, 'keepUserPaths'>,
): Launch {
  const keepUserPaths = environment.kind === 'system';
  const env = childEnvironment({ ...options, keepUserPaths });
  const { container, python } = environment;
  if (!container)
    return { command: python, args: ['-m', module, argument], env, events: 3, killed: () => {} };
  const name = `dopt-${process.pid}-${randomBytes(4).toString('hex')}`;
  const user = process.getuid ? { uid: process.getuid(), gid: process.getgid!() } : null;
  const args = containerArguments({ container, name, method, params, file: argument, env, user });
  const { command } = container.engine;
  const killed = () => {
    const end = spawn(command, ['kill', name], { stdio: 'ignore' });
    end.on('error', () => {});
    end.unref();
  };
  // The engine's own settings and credentials are found through its user's environment.
  return { command, args, env: process.env as Record<string, string>, events: 1, killed };
}
