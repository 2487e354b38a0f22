import { existsSync, readFileSync } from 'node:fs';
import type { CudaState } from '../native/cuda.js';
import { canBring } from './bring-python.js';
import { nativeLibraryPath } from './child-environment.js';
import { diagnoseUses } from './device-use.js';
import { findReady, pythonNotFound } from './environments.js';
import type { Finding } from './finding.js';
import { findInterpreter, machinePlaces, type Places } from './interpreters.js';
import { minorOf, PROFILE_SPECS, PROFILES, type Profile } from './profiles.js';
import { PythonRuntime } from './runtime.js';
import type { Environment } from './stamps.js';

export interface Diagnosis {
  findings: Finding[];
  /** Whether every profile can be used or made. */
  ok: boolean;
}

const NODE_MINIMUM = [20, 11] as const;

/** Looks at Node, the compiler, the native core and each profile, starting what it finds to be sure that it runs. */
export async function diagnose(places: Places = machinePlaces()): Promise<Diagnosis> {
  const profiles = await Promise.all(PROFILES.map((profile) => diagnoseProfile(profile, places)));
  const findings = [
    diagnoseNode(process.versions.node, process.execPath),
    diagnoseProcessor(processorFlags()),
    await diagnoseTool('C++ compiler', [process.env.CXX, 'c++', 'g++', 'clang++'], 'apt install g++'),
    await diagnoseNative(profiles.find(({ native }) => native !== undefined)?.native),
    await diagnoseCuda(),
    ...(await diagnoseUses(places)),
    ...profiles.map(({ finding }) => finding),
  ];
  return { findings, ok: findings.every(({ status }) => status !== 'missing') };
}

/** The Node version against the oldest that works. */
export function diagnoseNode(version: string, where: string): Finding {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const enough = major > NODE_MINIMUM[0] || (major === NODE_MINIMUM[0] && minor >= NODE_MINIMUM[1]);
  const finding = { name: 'Node', found: version, where };
  if (enough) return { ...finding, status: 'ok', remedies: [] };
  return { ...finding, status: 'missing', remedies: [`Install Node ${NODE_MINIMUM.join('.')} or newer.`] };
}

/** Instruction sets of this processor as Linux lists them; null where it does not say. */
function processorFlags(): ReadonlySet<string> | null {
  try {
    const line = /^(?:flags|Features)\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'));
    return line ? new Set(line[1]!.trim().split(/\s+/)) : null;
  } catch {
    return null;
  }
}

/** What the frameworks ask of an x86 processor: TensorFlow's packages are built with AVX and end without it. */
export function diagnoseProcessor(flags: ReadonlySet<string> | null, arch = process.arch): Finding {
  const finding = { name: 'processor', where: null };
  if (flags === null)
    return { ...finding, status: 'ok', found: `${arch}, instruction sets unknown`, remedies: [] };
  const known = ['avx', 'avx2', 'avx512f', 'avx512_vnni', 'avx_vnni', 'asimd'].filter((name) =>
    flags.has(name),
  );
  const found = `${arch}, ${known.join(' ') || 'no vector instructions that dopt asks for'}`;
  if (arch !== 'x64' || flags.has('avx')) return { ...finding, status: 'ok', found, remedies: [] };
  return {
    ...finding,
    status: 'warning',
    found: `${found}; TensorFlow needs AVX and cannot run here`,
    remedies: ['Quantize TensorFlow models on another machine, or convert them to ONNX there.'],
  };
}

/** The first of some commands that runs; without any, the native core cannot be built. */
export async function diagnoseTool(
  name: string,
  commands: (string | undefined)[],
  install: string,
): Promise<Finding> {
  const { execa } = await import('execa');
  for (const command of commands) {
    if (!command) continue;
    const result = await execa(command, ['--version'], { reject: false, stdin: 'ignore', timeout: 15_000 });
    if (!result.failed) {
      return { name, status: 'ok', found: result.stdout.split('\n')[0]!, where: command, remedies: [] };
    }
  }
  const tried = commands.filter(Boolean).join(', ');
  return {
    name,
    status: 'warning',
    found: `none of ${tried} runs; the native core cannot be built, and dopt computes in TypeScript, slowly`,
    where: null,
    remedies: [`Install one (Debian and Ubuntu: ${install}) and run \`npm run build:native\`.`],
  };
}

/** The native core, opened as Node opens it, and what Python said when it opened it. */
async function diagnoseNative(probed: { loaded: boolean; detail: string } | undefined): Promise<Finding> {
  const name = 'native core';
  const where = nativeLibraryPath() ?? null;
  const remedies = ['Build it: `npm run build:native`.'];
  if (where === null) {
    const found = 'not built; dopt computes in TypeScript and numpy, slowly';
    return { name, status: 'warning', found, where, remedies };
  }
  try {
    const { openLibrary } = await import('../native/library.js');
    const info = String(openLibrary(where).functions.dopt_build_info());
    if (probed?.loaded === false) {
      return { name, status: 'warning', found: `Python cannot load it: ${probed.detail}`, where, remedies };
    }
    return { name, status: 'ok', found: info, where, remedies: [] };
  } catch (error) {
    const found = `does not load: ${error instanceof Error ? error.message : String(error)}`;
    return { name, status: 'warning', found, where, remedies };
  }
}

/** Where NVIDIA's driver shows itself on Linux. */
const NVIDIA_DRIVER = '/proc/driver/nvidia/version';

/** The CUDA core and its devices. It is never needed: only a GPU that lies idle without it is worth a warning. */
async function diagnoseCuda(): Promise<Finding> {
  const { cudaLibraryPath, cudaState } = await import('../native/cuda.js');
  return describeCuda(cudaState(cudaLibraryPath(process.env)), existsSync(NVIDIA_DRIVER));
}

/** What the doctor says of a CUDA core, on a machine with or without NVIDIA's driver. */
export function describeCuda(state: CudaState, driver: boolean): Finding {
  const { path: where, build, devices, reason } = state;
  const made = build ? `built with CUDA ${build.runtime} for ${build.architectures}` : 'not built';
  const finding = { name: 'CUDA core', where };
  if (reason === null) {
    const listed = devices.map(
      (one, index) =>
        `${index}: ${one.name}, capability ${one.capability}, ${Math.round(one.memory / 2 ** 30)} GiB, driver for CUDA ${one.driver}`,
    );
    return { ...finding, status: 'ok', found: `${listed.join('; ')}; ${made}`, remedies: [] };
  }
  const found = build ? `${made}; no device: ${reason}` : `${made}: ${reason}`;
  if (!driver) {
    return {
      ...finding,
      status: 'ok',
      found: `no NVIDIA driver here, the CPU does it all (${found})`,
      remedies: [],
    };
  }
  const remedies = build
    ? [
        'Update the NVIDIA driver, or build the core for this GPU: DOPT_CUDA_ARCHITECTURES=... npm run build:cuda',
      ]
    : ['Build it: npm run build:cuda (without nvcc: npm run build:cuda -- --download)'];
  return { ...finding, status: 'warning', found, remedies };
}

interface ProfileDiagnosis {
  finding: Finding;
  native?: { loaded: boolean; detail: string };
}

async function diagnoseProfile(profile: Profile, places: Places): Promise<ProfileDiagnosis> {
  const ready = await findReady(profile, places.named);
  return ready ? diagnoseReady(profile, ready, places) : { finding: await diagnoseAbsent(profile, places) };
}

async function diagnoseReady(
  profile: Profile,
  environment: Environment,
  places: Places,
): Promise<ProfileDiagnosis> {
  const name = `profile ${profile}`;
  const where = environment.python;
  try {
    await using runtime = new PythonRuntime(environment);
    const { modules } = PROFILE_SPECS[profile];
    const probe = await runtime.invoke('probe', { modules: Object.keys(modules) }, { timeoutMs: 120_000 });
    const names = Object.values(modules);
    const packages = names.map((one) => `${one} ${probe.packages[one] ?? 'missing'}`).join(', ');
    const found = `Python ${probe.python}, ${packages}; made with ${environment.how}`;
    if (names.some((one) => probe.packages[one] === undefined)) {
      const remedies = [`Make it anew: dopt env create ${profile} --force`];
      return { finding: { name, status: 'missing', found, where, remedies }, native: probe.native };
    }
    const broken = Object.entries(probe.broken).map(([module, reason]) => `${module}: ${reason}`);
    if (broken.length > 0) {
      const remedies = [`Make it anew: dopt env create ${profile} --force`];
      const trouble = `${found}; cannot import ${broken.join('; ')}`;
      return { finding: { name, status: 'missing', found: trouble, where, remedies }, native: probe.native };
    }
    const better = await betterInterpreter(profile, environment, places);
    const finding: Finding = better
      ? { name, status: 'warning', found, where, remedies: [better] }
      : { name, status: 'ok', found, where, remedies: [] };
    return { finding, native: probe.native };
  } catch (error) {
    const found = `is there but does not work: ${(error as Error).message}`;
    const remedies = [`Make it anew: dopt env create ${profile} --force`];
    return { finding: { name, status: 'missing', found, where, remedies } };
  }
}

/** For an environment that stands on a fallback version: what can be done about it. */
async function betterInterpreter(
  profile: Profile,
  environment: Environment,
  places: Places,
): Promise<string | null> {
  const best = PROFILE_SPECS[profile].locks[0]!;
  if (places.named !== undefined || minorOf(environment.versions.python!) === best.minor) return null;
  const { found } = await findInterpreter([best.minor], places);
  return found
    ? `Python ${found.version} is at ${found.path}: run \`dopt env create ${profile}\` to use it.`
    : `Install Python ${best.minor} and run \`dopt env create ${profile}\` for the versions that results are published with.`;
}

async function diagnoseAbsent(profile: Profile, places: Places): Promise<Finding> {
  const name = `profile ${profile}`;
  const { locks, optional } = PROFILE_SPECS[profile];
  const { found, tried } = await findInterpreter(
    locks.map((lock) => lock.minor),
    places,
  );
  if (found) {
    const notice = locks.find(({ minor }) => minor === minorOf(found.version))?.notice;
    return {
      name,
      status: 'ok',
      found: `not made yet; Python ${found.version} (${found.from}) would be used. ${notice ?? ''}`.trim(),
      where: found.path,
      remedies: [`Made on first need, or now: dopt env create ${profile}`],
    };
  }
  if (places.named === undefined && canBring(places, tried)) {
    return {
      name,
      status: 'ok',
      found: `not made yet; no Python ${locks.map(({ minor }) => minor).join(' or ')} is here, ${locks[0]!.minor} would be brought with uv.`,
      where: null,
      remedies: [`Made on first need, or now: dopt env create ${profile}`],
    };
  }
  const { message, suggestions: remedies } = pythonNotFound(profile, tried, places);
  return optional
    ? { name, status: 'warning', found: `${message}\n${optional}`, where: null, remedies }
    : { name, status: 'missing', found: message, where: null, remedies };
}
