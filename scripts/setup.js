// The set-up that `npm run quickstart` and `npm test` share: packages, TypeScript, native core, Python environment.
// It runs in a fresh clone, before there are packages, so it needs nothing but Node. What is up to date is left alone.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Folder of the project. */
export const root = fileURLToPath(new URL('..', import.meta.url));

/** A step that failed; its own output is already on the screen. */
export class StepFailed extends Error {}

const seconds = (since) => `${((performance.now() - since) / 1000).toFixed(1)} s`;

/** Does one step between a line that names it and a line that says how long it took; the action returns a note. */
export function step(title, action) {
  const started = performance.now();
  console.log(`\n== ${title}`);
  try {
    const note = action();
    console.log(`== ${title}: ${note ?? 'done'}, ${seconds(started)}`);
  } catch (error) {
    console.error(`== ${title}: FAILED after ${seconds(started)}`);
    throw error;
  }
}

/** Runs a program in the root folder with its output shown. Throws StepFailed when it fails or cannot be started. */
export function run(command, args, environment = {}) {
  const { error, status, signal } = spawnSync(command, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, ...environment },
  });
  if (status === 0) return;
  const why = error ? error.message : signal ? `ended by ${signal}` : `exit code ${status}`;
  const shown = command === process.execPath ? 'node' : command;
  throw new StepFailed(`${shown} ${args.join(' ')}: ${why}`);
}

/** Runs a script of ours or of a package with this Node. */
export const runNode = (args, environment) => run(process.execPath, args, environment);

/** What `dopt … --json` prints, as data. */
export function askDopt(args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['bin/run.js', ...args, '--json'], {
    cwd: root,
    encoding: 'utf8',
  });
  if (status !== 0) throw new StepFailed(`dopt ${args.join(' ')}: exit code ${status}\n${stdout}${stderr}`);
  return JSON.parse(stdout);
}

function checkNode() {
  const wanted = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).engines.node.replace('>=', '');
  const [major, minor] = wanted.split('.').map(Number);
  const [hasMajor, hasMinor] = process.versions.node.split('.').map(Number);
  if (hasMajor < major || (hasMajor === major && hasMinor < minor)) {
    throw new StepFailed(
      `Node ${wanted} or newer is needed; ${process.execPath} is ${process.version}.\n` +
        `Where the system's packages have none: npm install --global --prefix ~/.local node@${major}\n` +
        `(~/.local/bin must be on the PATH; or without --prefix, with sudo), then in a new shell this command again.`,
    );
  }
  return process.version;
}

/**
 * True when node_modules holds what package-lock.json says. npm leaves a list of what it installed there, as its last
 * act, so an installation that was interrupted does not pass. Optional packages of other systems may be missing.
 */
function packagesAreCurrent() {
  const installed = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(installed)) return false;
  const read = (path) => JSON.parse(readFileSync(path, 'utf8')).packages;
  const present = read(installed);
  const { '': _, ...wanted } = read(join(root, 'package-lock.json'));
  const missing = Object.entries(wanted).some(([name, { optional }]) => !optional && !(name in present));
  const other = Object.entries(present).some(([name, { version }]) => wanted[name]?.version !== version);
  return !missing && !other;
}

function installPackages() {
  if (packagesAreCurrent()) return 'up to date';
  // Off a terminal npm is silent until it is done.
  console.log('About 300 MB to download, 620 MB on disk in node_modules.');
  // npm says in npm_execpath where it is when it started this script; `node scripts/…` finds it on PATH.
  const npm = process.env.npm_execpath;
  const args = ['ci', '--no-fund', '--no-audit'];
  if (npm?.endsWith('.js')) runNode([npm, ...args]);
  else run('npm', args);
}

/** Files of a folder and the folders in it. */
function filesUnder(folder) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
}

/** A digest that changes when a file comes, goes or changes. */
function fingerprint(files) {
  const hash = createHash('sha256');
  for (const file of files.sort()) {
    const { size, mtimeMs } = statSync(file);
    hash.update(`${relative(root, file)} ${size} ${mtimeMs}\n`);
  }
  return hash.digest('hex');
}

function compileTypeScript() {
  const sources = join(root, 'src');
  const dist = join(root, 'dist');
  const stamp = join(dist, '.sources');
  const settings = ['tsconfig.json', 'tsconfig.build.json', 'package.json', 'package-lock.json'];
  const now = fingerprint([...filesUnder(sources), ...settings.map((name) => join(root, name))]);
  const manifest = join(root, 'oclif.manifest.json');
  if (existsSync(manifest) && existsSync(stamp) && readFileSync(stamp, 'utf8') === now) return 'up to date';
  mkdirSync(dist, { recursive: true });
  // What a source that is gone left would still be found, a command above all.
  for (const file of filesUnder(dist).filter((name) => name.endsWith('.js'))) {
    const source = join(sources, relative(dist, file)).replace(/\.js$/, '.ts');
    if (!existsSync(source)) rmSync(file);
  }
  runNode(['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json']);
  runNode(['scripts/manifest.js']);
  writeFileSync(stamp, now);
}

/** All steps, in order. Each says what it does and how long it took; throws StepFailed at the first that fails. */
export function setUp() {
  step('Node', checkNode);
  step('packages (npm ci)', installPackages);
  step('TypeScript', compileTypeScript);
  step('native core', () => runNode(['scripts/build-native.js']));
  step('Python environment', () => runNode(['bin/run.js', 'env', 'create', 'onnx']));
}

/** Runs a script's main function; a failed step ends it with exit code 1 and a closing line. */
export async function main(work) {
  try {
    process.exitCode = await work();
  } catch (error) {
    if (!(error instanceof StepFailed)) throw error;
    console.error(`\n${error.message}`);
    process.exitCode = 1;
  }
}
