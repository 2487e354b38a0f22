#!/usr/bin/env node
// `npm test`: the set-up, then every test of every language, and one closing line, `N passed, N failed, N skipped`.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { askDopt, main, root, run, StepFailed, setUp, step } from './setup.js';

const scratch = mkdtempSync(join(tmpdir(), 'dopt-test-'));
const shared = join(root, '..', 'shared', 'assets');
const environment = { ...process.env };
if (!environment.DOPT_ASSETS && existsSync(shared)) environment.DOPT_ASSETS = shared;

/** Runs a program with its output shown; resolves with its exit code (null: not started or killed) and output. */
function watch(command, args, extra = {}) {
  return new Promise((resolve) => {
    const env = { ...environment, ...extra };
    const child = spawn(command, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const name of ['stdout', 'stderr']) {
      child[name].on('data', (chunk) => {
        output += chunk;
        process[name].write(chunk);
      });
    }
    child.on('error', (error) => {
      console.error(`${command}: ${error.message}`);
      resolve({ code: null, output });
    });
    child.on('close', (code) => resolve({ code, output }));
  });
}

const node = (args, extra) => watch(process.execPath, args, extra);
const nothing = () => ({ passed: 0, failed: 0, skipped: [], broken: [] });

/** A check that is one test: it passes when the program does. */
const asOne = async (args) => {
  const { code } = await node(args);
  return { ...nothing(), [code === 0 ? 'passed' : 'failed']: 1 };
};

const typecheck = () => asOne(['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json', '--noEmit']);
const lint = () => asOne(['node_modules/@biomejs/biome/bin/biome', 'check', '.']);

async function vitest() {
  const file = join(scratch, 'vitest.json');
  const projects = ['--project', 'unit', '--project', 'flow'];
  const reporters = ['--reporter', 'default', '--reporter', './scripts/vitest-tally.js'];
  const args = ['run', ...projects, ...reporters];
  const { code, output } = await node(['node_modules/vitest/vitest.mjs', ...args], { DOPT_TALLY: file });
  const tally = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : nothing();
  for (const skip of tally.skipped) skip.reason ??= reasonOf(skip.file, output);
  return endedBadly(tally, code);
}

/**
 * Why a file skips tests that carry no note: the line "skipped: no Python ..." that it prints, found in the output by
 * how it begins in the file; else the condition itself.
 */
function reasonOf(file, output) {
  const source = readFileSync(join(root, file), 'utf8');
  const [, begin] = /console\.\w+\(['"`](skipped[^'"`$]*)/i.exec(source) ?? [];
  const said = begin && output.split('\n').find((line) => line.startsWith(begin));
  const conditions = [...source.matchAll(/\.(skipIf|runIf)\((.*?)\)\(/g)].map(
    ([, kind, of]) => `${kind}(${of})`,
  );
  return said ?? (conditions.join(', ') || 'marked as skipped');
}

async function native() {
  const { code, output } = await node(['scripts/build-native.js', '--test']);
  const tally = nothing();
  for (const [, state, name] of output.matchAll(/^(ok|FAILED) +(test_\w+ \(\w+\))$/gm)) {
    if (state === 'ok') tally.passed += 1;
    else tally.failed += 1;
    if (state !== 'ok') console.error(`failed: ${name}`);
  }
  if (output.includes('No C++ compiler found')) {
    tally.skipped.push({ name: 'native/tests', reason: 'no C++ compiler on this machine' });
    return tally;
  }
  return endedBadly(tally, code);
}

/** The environment that the product uses, with pytest: made from the same interpreter and the same lock. */
function pythonForTests() {
  const { environments } = askDopt(['env', 'list']);
  const current = environments.find((one) => one.profile === 'onnx' && one.current);
  if (!current) throw new StepFailed('dopt env list names no onnx environment that is in use');
  const profile = current.versions.python.startsWith('3.10.') ? 'onnx.txt' : 'onnx-py311.txt';
  const locks = [profile, 'test.txt'].map((name) => join(root, 'python', 'requirements', name));
  const hash = createHash('sha256').update(`${current.interpreter} ${current.versions.python}\n`);
  for (const lock of locks) hash.update(readFileSync(lock));
  const wanted = hash.digest('hex');
  const venv = join(root, '.dopt', 'test-venv');
  const python = join(venv, 'bin', 'python');
  const stamp = join(venv, 'locks.sha256');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return { python, note: 'up to date' };
  rmSync(venv, { recursive: true, force: true });
  run(current.interpreter, ['-m', 'venv', venv]);
  const only = ['--require-hashes', '--only-binary', ':all:', '--no-deps', '--no-input'];
  const plain = ['--disable-pip-version-check', '--progress-bar', 'off'];
  run(python, ['-m', 'pip', 'install', ...plain, ...only, ...locks.flatMap((lock) => ['-r', lock])]);
  writeFileSync(stamp, wanted);
  return { python, note: 'made' };
}

async function pytest(python) {
  const file = join(scratch, 'pytest.xml');
  const args = ['-m', 'pytest', 'python/tests', '-q', '-p', 'no:cacheprovider', `--junitxml=${file}`];
  const { code } = await watch(python, args, { PYTHONDONTWRITEBYTECODE: '1' });
  return endedBadly(existsSync(file) ? junit(readFileSync(file, 'utf8')) : nothing(), code);
}

/** Counts of a JUnit file as pytest writes it. A case that fails and then fails to tear down is in it twice. */
function junit(xml) {
  const tally = nothing();
  for (const [, open, closed, body] of xml.matchAll(/<testcase ([^>]*?)(?:(\/)>|>([\s\S]*?)<\/testcase>)/g)) {
    const attribute = (name, text) => decode(new RegExp(`\\b${name}="([^"]*)"`).exec(text)?.[1] ?? '');
    const skipped = closed ? null : /<skipped\b[^>]*>/.exec(body)?.[0];
    if (!closed && /<(failure|error)\b/.test(body)) tally.failed += 1;
    else if (skipped) {
      const name = `${attribute('classname', open)} > ${attribute('name', open)}`;
      tally.skipped.push({ name, reason: attribute('message', skipped) });
    } else tally.passed += 1;
  }
  return tally;
}

const ENTITIES = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
const decode = (text) =>
  text
    .replace(/&#(x?)([0-9A-Fa-f]+);/g, (_, hex, digits) =>
      String.fromCodePoint(Number.parseInt(digits, hex ? 16 : 10)),
    )
    .replace(/&(amp|lt|gt|quot|apos);/g, (_, name) => ENTITIES[name]);

/** A runner that ran nothing, or failed without a failed test, is broken. */
function endedBadly(tally, code) {
  const ran = tally.passed + tally.failed + tally.skipped.length;
  if (ran === 0) tally.broken.push(`no test ran (exit code ${code})`);
  else if (code !== 0 && tally.failed === 0 && tally.broken.length === 0)
    tally.broken.push(`exit code ${code} though no test failed`);
  return tally;
}

/** Runs one runner; whatever it throws is a broken runner, and the others still run. */
async function tallied(title, runner) {
  const started = performance.now();
  console.log(`\n== ${title}`);
  const tally = await runner().catch((error) => ({ ...nothing(), broken: [error.message] }));
  const counts = `${tally.passed} passed, ${tally.failed + tally.broken.length} failed`;
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`== ${title}: ${counts}, ${tally.skipped.length} skipped (${seconds} s)`);
  return { title, ...tally };
}

async function everything() {
  setUp();
  let python;
  step('environment of the Python tests', () => {
    const made = pythonForTests();
    python = made.python;
    return made.note;
  });
  const tallies = [
    await tallied('types', typecheck),
    await tallied('lint', lint),
    await tallied('vitest', vitest),
    await tallied('native', native),
    await tallied('pytest', () => pytest(python)),
  ];
  console.log('');
  for (const { title, skipped } of tallies) {
    for (const { name, reason } of skipped) console.log(`skipped (${title}): ${name}: ${reason}`);
  }
  for (const { title, broken } of tallies) {
    for (const message of broken) console.error(`broken (${title}): ${message}`);
  }
  const sum = (count) => tallies.reduce((total, tally) => total + count(tally), 0);
  const passed = sum((tally) => tally.passed);
  // What broke without being a test counts as one that failed.
  const failed = sum((tally) => tally.failed + tally.broken.length);
  return { passed, failed, skipped: sum((tally) => tally.skipped.length) };
}

await main(async () => {
  let counts = { passed: 0, failed: 1, skipped: 0 };
  try {
    counts = await everything();
  } finally {
    rmSync(scratch, { recursive: true, force: true });
    // Set-up that fails must not look like a run without failures.
    process.on('exit', () =>
      console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`),
    );
  }
  return counts.failed === 0 && counts.passed > 0 ? 0 : 1;
});
