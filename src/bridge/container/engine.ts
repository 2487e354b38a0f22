import { EnvironmentError } from '../../errors.js';

/** A program that runs containers. Podman takes Docker's command line, but for a few flags. */
export interface Engine {
  command: string;
  name: 'docker' | 'podman';
  version: string;
}

/**
 * The engine named by DOPT_CONTAINER_ENGINE, else the first of docker and podman that answers.
 * @throws EnvironmentError CONTAINER_ENGINE with what each of them said
 */
export async function findEngine(env: NodeJS.ProcessEnv = process.env): Promise<Engine> {
  const named = env.DOPT_CONTAINER_ENGINE;
  const tried: string[] = [];
  for (const command of named ? [named] : ['docker', 'podman']) {
    const found = await tryEngine(command, env);
    if (typeof found !== 'string') return found;
    tried.push(`  ${command}: ${found}`);
  }
  throw new EnvironmentError('CONTAINER_ENGINE', `No container engine answers. Tried:\n${tried.join('\n')}`, {
    expected: 'Docker with its daemon running, or Podman',
    suggestions: [
      'Install one (Debian and Ubuntu: apt install podman), or start the daemon: systemctl start docker.',
      'Name an engine: DOPT_CONTAINER_ENGINE=/path/to/podman.',
      'Run without containers: leave --env docker out.',
    ],
  });
}

/** The engine behind a command, or why it is none. */
async function tryEngine(command: string, env: NodeJS.ProcessEnv): Promise<Engine | string> {
  const { execa } = await import('execa');
  const ask = (...args: string[]) =>
    execa(command, args, { env, extendEnv: false, stdin: 'ignore', reject: false, timeout: 30_000 });
  const client = await ask('--version');
  if (client.failed) return client.exitCode === undefined ? 'is not there' : lastLine(client.stderr);
  const name = /podman/i.test(client.stdout) ? 'podman' : 'docker';
  // The client answers without a daemon; this asks the server.
  const server = await ask(
    'version',
    '--format',
    name === 'podman' ? '{{.Client.Version}}' : '{{.Server.Version}}',
  );
  if (server.failed) return lastLine(server.stderr) || 'does not answer';
  return { command, name, version: server.stdout.trim() };
}

const lastLine = (text: string): string => text.trim().split('\n').at(-1) ?? '';
