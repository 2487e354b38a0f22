#!/usr/bin/env node
// Builds native/build/lib/libdopt_cuda.so, the optional CUDA core: `node scripts/build-cuda.js [--test] [--bench] [--require]`.
//
// With the nvcc of this machine ($DOPT_NVCC, then PATH, then /usr/local/cuda), else with NVIDIA's compiler packages from PyPI,
// which are kept in ~/.cache/dopt/cuda (270 MB; --download asks for them, or DOPT_CUDA_DOWNLOAD=1). No compiler: says so and exits 0,
// an error with --require. --test also builds the test program and runs it, which skips where there is no GPU; --bench the
// benchmarks. DOPT_CUDA_ARCHITECTURES="90" builds for fewer. A GPU is not needed to build.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism, homedir } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const native = join(dirname(fileURLToPath(import.meta.url)), '..', 'native');
const build = join(native, 'build', 'cuda');
const library = join(native, 'build', 'lib', 'libdopt_cuda.so');
const args = process.argv.slice(2);
const wants = (name) => args.includes(`--${name}`);

/** Compute capabilities with machine code of their own; the last one's PTX serves newer devices. */
const architectures = (process.env.DOPT_CUDA_ARCHITECTURES ?? '80 86 89 90').split(/\s+/);

/** The compiler in parts, as NVIDIA publishes it on PyPI; one release of CUDA. */
const PACKAGES = [
  'nvidia-cuda-nvcc==13.0.88',
  'nvidia-cuda-crt==13.0.88',
  'nvidia-nvvm==13.0.88',
  'nvidia-cuda-runtime==13.0.96',
  'nvidia-cuda-cccl==13.0.85',
];

const runs = (command) => spawnSync(command, ['--version'], { encoding: 'utf8' }).status === 0;

/** The first nvcc of this machine that runs. */
function findNvcc() {
  const named = process.env.DOPT_NVCC;
  const onPath = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, 'nvcc'));
  const all = named ? [named] : [...onPath, '/usr/local/cuda/bin/nvcc', join(toolkit(), 'bin', 'nvcc')];
  return all.find((path) => existsSync(path) && runs(path));
}

/** Where the packages put the toolkit. */
const packages = () => join(process.env.DOPT_HOME ?? join(homedir(), '.cache', 'dopt'), 'cuda');
const toolkit = () => join(packages(), 'nvidia', 'cu13');

/** Fetches NVIDIA's packages with pip; the path of their nvcc, or undefined with the reason printed. */
function downloadNvcc() {
  const python = ['python3', 'python'].find(runs);
  if (!python) {
    console.warn('CUDA core: no Python to fetch the compiler packages with');
    return undefined;
  }
  console.log(`CUDA core: fetching ${PACKAGES.join(' ')} into ${packages()} ...`);
  const quiet = ['--quiet', '--disable-pip-version-check', '--no-input', '--no-deps', '--upgrade'];
  const pip = ['-m', 'pip', 'install', ...quiet, '--target', packages(), ...PACKAGES];
  if (spawnSync(python, pip, { stdio: 'inherit' }).status !== 0) return undefined;
  const nvcc = join(toolkit(), 'bin', 'nvcc');
  return existsSync(nvcc) && runs(nvcc) ? nvcc : undefined;
}

const time = (file) => (existsSync(file) ? statSync(file).mtimeMs : 0);

/** True unless `target` is newer than all of `sources`. */
const stale = (target, sources) => time(target) < Math.max(...sources.map(time));

const files = (folder, pattern) =>
  readdirSync(join(native, folder))
    .filter((name) => pattern.test(name))
    .map((name) => join(native, folder, name));

/** Machine code for each architecture and PTX for what comes after the last. */
function codeFlags() {
  const code = architectures.flatMap((arch) => ['-gencode', `arch=compute_${arch},code=sm_${arch}`]);
  return [...code, '-gencode', `arch=compute_${architectures.at(-1)},code=compute_${architectures.at(-1)}`];
}

function commonFlags() {
  const include = ['include', 'src', 'cuda/include', 'cuda/src'].map((folder) => `-I${join(native, folder)}`);
  return [
    ...[
      '-std=c++17',
      '-O3',
      '--expt-relaxed-constexpr',
      `-DDOPT_CUDA_ARCHITECTURES="${architectures.join(' ')}"`,
    ],
    ...['-Xcompiler', '-fPIC,-fvisibility=hidden,-ffp-contract=off,-Wall'],
    ...include,
  ];
}

/** Linking with the runtime's archive, which the packages of PyPI keep where their nvcc does not look. */
const linkFlags = (nvcc) => ['-cudart', 'static', `-L${join(dirname(nvcc), '..', 'lib')}`, ...codeFlags()];

/** Runs one command to its end; resolves with whether it succeeded. Its output is shown in one piece. */
function run(command, parameters) {
  return new Promise((resolve) => {
    const child = spawn(command, parameters, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        output += chunk;
      });
    }
    child.on('error', (error) => {
      console.error(`${command}: ${error.message}`);
      resolve(false);
    });
    child.on('close', (code) => {
      if (output) process.stderr.write(output);
      resolve(code === 0);
    });
  });
}

/** Runs jobs, one a processor at a time; true when all succeeded. */
async function inParallel(jobs) {
  let ok = true;
  const waiting = [...jobs];
  const worker = async () => {
    for (let job = waiting.shift(); job && ok; job = waiting.shift()) ok = (await job()) && ok;
  };
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), jobs.length) }, worker));
  return ok;
}

/** Compiles a source, with the flags behind its name in sources.txt, unless its object is up to date. */
function compileJob(nvcc, line) {
  const [source, ...own] = line.split(/\s+/);
  const object = join(build, `${basename(source)}.o`);
  const headers = [...files('include', /\.h$/), ...files('src', /\.h$/), ...files('cuda/include', /\.h$/)];
  headers.push(...files('cuda/src', /\.h$/), ...files('tests', /\.h$/), fileURLToPath(import.meta.url));
  const needed = stale(object, [join(native, source), ...headers, stamp]);
  const code = own.includes('-gencode') ? [] : codeFlags();
  const parameters = [...commonFlags(), ...code, ...own, '-c', join(native, source), '-o', object];
  return { object, job: needed ? () => run(nvcc, parameters) : null };
}

const stamp = join(build, 'compiler.txt');

const sourceLines = (file) =>
  readFileSync(join(native, file), 'utf8')
    .split('\n')
    .filter((line) => /^(cuda\/)?src\//.test(line));

/** Programs that are linked with the objects of both cores. */
async function buildPrograms(nvcc, objects, folder, program) {
  const own = files(`cuda/${folder}`, /\.cu$/).map((file) => `cuda/${folder}/${basename(file)}`);
  const shared = folder === 'tests' ? ['tests/reference.cc'] : [];
  const jobs = [...own, ...shared].map((source) => compileJob(nvcc, source));
  if (!(await inParallel(jobs.flatMap(({ job }) => job ?? [])))) return false;
  const linked = [...new Set([...objects, ...jobs.map(({ object }) => object)])];
  const target = join(build, program);
  if (!stale(target, linked)) return true;
  return run(nvcc, [...linkFlags(nvcc), ...linked, '-o', target, '-lpthread', '-ldl', '-lrt']);
}

/** The CPU core's objects, which the programs compare with. */
function cpuJobs(nvcc) {
  const x86 = process.arch === 'x64';
  const sets = { avx2: '-mavx2,-mfma', avx512: '-mavx512f,-mavx512bw,-mavx512dq,-mavx512vl,-mfma' };
  return sourceLines('sources.txt').map((line) => {
    const set = /kernels_(\w+)\.cc/.exec(line)?.[1];
    const own = ['-Xcompiler', '-Wno-psabi'];
    if (x86) own.push('-DDOPT_HAVE_X86_SETS');
    if (x86 && sets[set]) own.push('-Xcompiler', sets[set]);
    return compileJob(nvcc, [line, ...own].join(' '));
  });
}

async function compile(nvcc) {
  mkdirSync(build, { recursive: true });
  mkdirSync(dirname(library), { recursive: true });
  const now = `${nvcc} ${architectures.join(' ')}\n`;
  if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== now) writeFileSync(stamp, now);
  const jobs = sourceLines('cuda/sources.txt').map((line) => compileJob(nvcc, line));
  if (!(await inParallel(jobs.flatMap(({ job }) => job ?? [])))) return false;
  const objects = jobs.map(({ object }) => object);
  const script = join(native, 'cuda', 'exports.map');
  if (stale(library, [...objects, script])) {
    const link = [
      '-shared',
      ...linkFlags(nvcc),
      ...objects,
      '-o',
      library,
      '-Xlinker',
      `--version-script=${script}`,
      // nvcc's temporary files, named after its process, would be told among the symbols: the same sources, other bytes.
      '-Xlinker',
      '--strip-all',
    ];
    if (!(await run(nvcc, [...link, '-Xcompiler', '-static-libstdc++,-static-libgcc']))) return false;
  }
  for (const [folder, program] of [
    ['tests', 'test_cuda'],
    ['bench', 'bench_cuda'],
  ]) {
    if (!wants(folder.replace(/s$/, ''))) continue;
    const cpu = cpuJobs(nvcc);
    if (!(await inParallel(cpu.flatMap(({ job }) => job ?? [])))) return false;
    const all = [...objects, ...cpu.map(({ object }) => object)];
    if (!(await buildPrograms(nvcc, all, folder, program))) return false;
  }
  return true;
}

async function main() {
  if (process.platform !== 'linux') {
    console.log('CUDA core: not built, it is for Linux alone');
    return wants('require') ? 1 : 0;
  }
  const download = wants('download') || process.env.DOPT_CUDA_DOWNLOAD === '1';
  const nvcc = findNvcc() ?? (download ? downloadNvcc() : undefined);
  if (!nvcc) {
    console.log(
      'CUDA core: not built, no nvcc found ($DOPT_NVCC, PATH, /usr/local/cuda). dopt works without it;',
    );
    console.log(
      "`node scripts/build-cuda.js --download` builds it with NVIDIA's compiler packages from PyPI",
    );
    return wants('require') ? 1 : 0;
  }
  const started = performance.now();
  if (!(await compile(nvcc))) {
    console.error(`The CUDA core could not be built with ${nvcc}; its messages are above.`);
    return 1;
  }
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`CUDA core: ${library} is up to date (${nvcc}, ${architectures.join(' ')}, ${seconds} s)`);
  for (const program of ['test', 'bench']) {
    if (!wants(program)) continue;
    const { status } = spawnSync(join(build, `${program}_cuda`), [], { stdio: 'inherit' });
    if (status !== 0) return 1;
  }
  return 0;
}

process.exitCode = await main();
