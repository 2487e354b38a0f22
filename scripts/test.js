#!/usr/bin/env node
// `npm test`: the set-up, then every test of every language, and one closing line, `N passed, N failed, N skipped`.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { askDopt, main, root, run, StepFailed, setUp, step } from './setup.js';

/** Without arguments everything runs; with any, this is said instead. */
const USAGE = `usage: npm test

Sets up what is missing and runs every test; it takes no arguments. "Set up and test" in CONTRIBUTING.md has the commands
for parts of it, such as: npx vitest run --project unit src/quantize`;

const given = process.argv.slice(2);
if (given.length > 0) {
  console.log(USAGE);
  process.exit(given.every((flag) => flag === '--help' || flag === '-h') ? 0 : 2);
}

const scratch = mkdtempSync(join(tmpdir(), 'dopt-test-'));
const shared = join(root, '..', 'shared', 'assets');
const environment = { ...process.env };
if (!environment.DOPT_ASSETS && existsSync(shared)) environment.DOPT_ASSETS = shared;

/** Shows what a program prints, as it comes. */
const live = (stream, chunk) => process[stream].write(chunk);

/** Keeps what a program prints, to be shown in one piece: two programs at once would be read line by line in turn. */
function kept() {
  const chunks = [];
  const show = (stream, chunk) => chunks.push([stream, chunk]);
  const flush = () => {
    for (const [stream, chunk] of chunks.splice(0)) process[stream].write(chunk);
  };
  return { show, flush };
}

/** Runs a program with its output given to `show`; resolves with its exit code (null: not started or killed) and output. */
function watch(show, command, args, extra = {}) {
  return new Promise((resolve) => {
    const env = { ...environment, ...extra };
    const child = spawn(command, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const name of ['stdout', 'stderr']) {
      child[name].on('data', (chunk) => {
        output += chunk;
        show(name, chunk);
      });
    }
    child.on('error', (error) => {
      show('stderr', `${command}: ${error.message}\n`);
      resolve({ code: null, output });
    });
    child.on('close', (code) => resolve({ code, output }));
  });
}

const node = (show, args, extra) => watch(show, process.execPath, args, extra);
const nothing = () => ({ passed: 0, failed: 0, skipped: [], broken: [] });

/** A check that is one test: it passes when the program does. */
const asOne = async (show, args) => {
  const { code } = await node(show, args);
  return { ...nothing(), [code === 0 ? 'passed' : 'failed']: 1 };
};

const typecheck = (show) =>
  asOne(show, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json', '--noEmit']);
const lint = (show) => asOne(show, ['node_modules/@biomejs/biome/bin/biome', 'check', '.']);

/** Tests of vitest, which `files` are to choose. */
async function vitest(show, name, files) {
  const file = join(scratch, `${name}.json`);
  const reporters = ['--reporter', 'default', '--reporter', './scripts/vitest-tally.js'];
  const args = ['run', ...files, ...reporters];
  const { code, output } = await node(show, ['node_modules/vitest/vitest.mjs', ...args], {
    DOPT_TALLY: file,
  });
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

async function native(show) {
  const { code, output } = await node(show, ['scripts/build-native.js', '--test']);
  const tally = nothing();
  for (const [, state, name] of output.matchAll(/^(ok|FAILED) +(test_\w+ \(\w+\))$/gm)) {
    if (state === 'ok') tally.passed += 1;
    else tally.failed += 1;
    if (state !== 'ok') show('stderr', `failed: ${name}\n`);
  }
  if (output.includes('No C++ compiler found')) {
    tally.skipped.push({ name: 'native/tests', reason: 'no C++ compiler on this machine' });
    return tally;
  }
  return endedBadly(tally, code);
}

/** Compiles the CUDA core where there is a compiler for it, and runs its tests, which say why where there is no GPU. */
async function cuda(show) {
  const { code, output } = await node(show, ['scripts/build-cuda.js', '--test']);
  const tally = nothing();
  if (/^CUDA core: not built, (.*)$/m.test(output)) {
    const [, reason] = /^CUDA core: not built, (.*)$/m.exec(output);
    tally.skipped.push({ name: 'native/cuda', reason });
    return tally;
  }
  for (const [, state, name, reason] of output.matchAll(
    /^(ok|FAILED|skipped) +(test_cuda \(\w+\))(?:: (.*))?$/gm,
  )) {
    if (state === 'ok') tally.passed += 1;
    else if (state === 'skipped') tally.skipped.push({ name, reason });
    else tally.failed += 1;
  }
  return endedBadly(tally, code);
}

/** Tests that need a framework. */
const FRAMEWORK_TESTS = [
  'tensorflow_door',
  'tensorflow_nas',
  'tensorflow_plugin',
  'torch_door',
  'torch_execute',
  'torch_llm',
  'torch_nas',
  'torch_plugin',
  'torch_weights',
];

/** The Python tests of each profile, run with the environment that the product makes for it. */
const PROFILES = {
  onnx: ['python/tests', ...FRAMEWORK_TESTS.map((name) => `--ignore=python/tests/${name}`)],
  tensorflow: [
    'python/tests/tensorflow_door',
    'python/tests/tensorflow_plugin',
    'python/tests/tensorflow_nas',
  ],
  torch: [
    'python/tests/torch_door',
    'python/tests/torch_execute',
    'python/tests/torch_weights',
    'python/tests/torch_plugin',
    'python/tests/torch_nas',
    'python/tests/torch_llm',
  ],
  current: [
    'python/tests/torch_door',
    'python/tests/torch_execute',
    'python/tests/torch_weights',
    'python/tests/torch_plugin',
    'python/tests/torch_nas',
    'python/tests/torch_llm',
  ],
};

/** Takes 5 GB: tested where somebody has made it. */
const ON_REQUEST = 'current';

/** Packages that tests of a profile alone compare with, by the name of their lock. */
const COMPARED = { current: 'test-llm' };

const packageFolder = (lock) => join(root, '.dopt', lock === 'test' ? 'test-packages' : `${lock}-packages`);

/** Packages of a lock, by default pytest, in a folder beside the environments, which stay as the product made them. */
function testPackages(name = 'test', python = environmentOf('onnx').python) {
  const folder = packageFolder(name);
  const lock = join(root, 'python', 'requirements', `${name}.txt`);
  const wanted = createHash('sha256').update(readFileSync(lock)).digest('hex');
  const stamp = join(folder, 'lock.sha256');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return 'up to date';
  rmSync(folder, { recursive: true, force: true });
  const only = ['--require-hashes', '--only-binary', ':all:', '--no-deps', '--no-input'];
  const plain = ['--disable-pip-version-check', '--progress-bar', 'off'];
  run(python, ['-m', 'pip', 'install', ...plain, ...only, '--target', folder, '-r', lock]);
  writeFileSync(stamp, wanted);
  return 'made';
}

const environmentOf = (profile) =>
  askDopt(['env', 'list']).environments.find((one) => one.profile === profile && one.current);

/** The interpreter of a profile's environment, which is made when it is not there. */
async function pythonOf(show, profile) {
  if (!environmentOf(profile)) await node(show, ['bin/run.js', 'env', 'create', profile]);
  const made = environmentOf(profile);
  if (!made) throw new StepFailed(`dopt env list names no ${profile} environment that is in use`);
  return made.python;
}

async function pytest(show, profile) {
  if (profile === ON_REQUEST && !environmentOf(profile)) {
    const reason = `the profile ${profile} is not made (dopt env create ${profile})`;
    return { ...nothing(), skipped: [{ name: PROFILES[profile].join(', '), reason }] };
  }
  const python = await pythonOf(show, profile);
  const file = join(scratch, `${profile}.xml`);
  const folders = [packageFolder('test')];
  const compared = COMPARED[profile];
  if (compared) {
    try {
      testPackages(compared, python);
      folders.push(packageFolder(compared));
    } catch {
      // Without them the tests that compare say that they are missing.
    }
  }
  const args = ['-m', 'pytest', ...PROFILES[profile], '-q', '-p', 'no:cacheprovider', `--junitxml=${file}`];
  const { code } = await watch(show, python, args, {
    PYTHONDONTWRITEBYTECODE: '1',
    // Frameworks that find the other core busy lose more by waiting for it than they gain.
    OMP_NUM_THREADS: '1',
    PYTHONPATH: folders.join(delimiter),
  });
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
async function tallied(title, runner, show) {
  const started = performance.now();
  show('stdout', `\n== ${title}\n`);
  const tally = await runner(show).catch((error) => ({ ...nothing(), broken: [error.message] }));
  const counts = `${tally.passed} passed, ${tally.failed + tally.broken.length} failed`;
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  show('stdout', `== ${title}: ${counts}, ${tally.skipped.length} skipped (${seconds} s)\n`);
  return { title, ...tally };
}

/** Runners one after the other, each with its output in one piece when it has ended. */
async function inTurn(runners) {
  const tallies = [];
  for (const [title, runner] of runners) {
    const { show, flush } = kept();
    tallies.push(await tallied(title, runner, show));
    flush();
  }
  return tallies;
}

async function everything() {
  setUp();
  step('packages of the Python tests', () => testPackages());
  step('Ray for the tests of a search on a cluster', () => {
    try {
      return testPackages('test-ray');
    } catch (error) {
      return `not made, so these tests are skipped: ${error.message}`;
    }
  });
  // The flows wait for processes that mostly keep one core busy: the rest runs beside them, which is the shorter part
  // without the commands of the documentation.
  const documentation = 'test/docs.test.ts';
  const others = [
    ['types', typecheck],
    ['lint', lint],
    ['native', native],
    ...Object.keys(PROFILES).map((profile) => [
      `pytest, profile ${profile}`,
      (show) => pytest(show, profile),
    ]),
    ['documentation', (show) => vitest(show, 'documentation', ['--project', 'flow', documentation])],
  ];
  // Tests of TypeScript look at the library that this compiles, on all cores.
  const compiled = await tallied('cuda', cuda, live);
  const most = ['--project', 'unit', '--project', 'flow', '--exclude', documentation];
  const [flows, rest] = await Promise.all([
    tallied('vitest', (show) => vitest(show, 'most', most), live),
    inTurn(others),
  ]);
  const tallies = [compiled, flows, ...rest];
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
