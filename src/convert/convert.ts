import { existsSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { EnvironmentKind } from '../bridge/profiles.js';
import { type Progress, silentProgress } from '../cli/progress.js';
import { converterLimits } from '../config/converter-operators.js';
import { UserError } from '../errors.js';
import { shown } from '../run/history.js';
import { checkModel, type Findings, plainName } from './checks.js';
import { CONVERTER, converterArguments, shellLine } from './command-line.js';
import { checkCompressConf } from './compress-conf.js';
import { runConverter } from './converter.js';
import { parameterFileNotes } from './notes.js';
import { readSource, type Source } from './source.js';

export interface ConvertOptions {
  /** Run folder, or model file (.onnx, .pb). */
  source: string;
  /** Path of the result without its ending; null: the model's name in the working folder. */
  name: string | null;
  platform: string | null;
  weight: string | null;
  /** Parameter file of the original tool. */
  compressConf: string | null;
  inputShapes: Record<string, number[]>;
  /** null: the model's own. */
  outputs: string[] | null;
  /** Run the converter, too. */
  execute: boolean;
  environment: EnvironmentKind;
  progress?: Progress;
  signal?: AbortSignal;
  /** What the converter prints. */
  onOutput?: (chunk: Buffer) => void;
}

export interface Conversion {
  /** Commands to paste into a shell, in order; the last one is the converter's. */
  commands: string[];
  executed: boolean;
  /** What the converter wrote; null when it did not run. */
  result: string | null;
  /** What the converter may refuse. */
  warnings: string[];
  /** What the open parameter file can and cannot replace. */
  notes: string[];
}

/**
 * Checks a model against the converter's documented limits, makes its command line and, if asked, runs it.
 *
 * Rejects with UserError CONVERT_REFUSED (all problems at once), CONVERT_SOURCE, CONVERT_USAGE, CONVERT_EXISTS,
 * CONVERT_FILE, CONVERT_COMPRESS_CONF, those of openRun; EnvironmentError CONVERTER_NOT_FOUND; ExternalError CONVERTER_FAILED.
 */
export async function convert(options: ConvertOptions): Promise<Conversion> {
  const { progress = silentProgress } = options;
  checkFiles(options);
  const source = await readSource(options, progress);
  const name = options.name ?? plainName(source.name);
  const outputs = options.outputs ?? source.facts.outputs;
  const facts = { ...source.facts, outputs };
  const files = [options.weight, options.compressConf].filter((path) => path !== null).map(shown);
  const findings = checkModel(facts, options.inputShapes, [name, ...files], converterLimits());
  refuse(findings, options.source);
  for (const warning of findings.warnings) progress.warn(warning);

  const line = converterArguments({
    model: facts.path,
    framework: source.framework,
    weight: options.weight && shown(options.weight),
    output: name,
    compressConf: options.compressConf && shown(options.compressConf),
    inputShapes: shapesOf(source, options.inputShapes),
    outputs,
    platform: options.platform,
  });
  const { warnings } = findings;
  const result = options.execute ? await execute(source, name, line, options) : null;
  if (options.execute && result === null) {
    warnings.push(`${CONVERTER} reported success, but there is no ${name}.om or ${name}.omc.`);
    progress.warn(warnings.at(-1)!);
  }
  return {
    commands: [...source.prepare.map(shellLine), shellLine([CONVERTER, ...line])],
    executed: options.execute,
    result,
    warnings,
    notes: parameterFileNotes(options.compressConf && shown(options.compressConf)),
  };
}

/** Files that are handed on must be there, and a parameter file must be one that the converter can read. */
function checkFiles({ weight, compressConf }: ConvertOptions): void {
  for (const path of [weight, compressConf]) {
    if (path === null || (existsSync(path) && statSync(path).isFile())) continue;
    throw new UserError('CONVERT_FILE', `${path} is not a file.`, { place: path });
  }
  if (compressConf !== null) checkCompressConf(compressConf);
}

function shapesOf({ facts }: Source, asked: Record<string, number[]>) {
  const known = facts.inputs.map(({ name, shape }) => ({ name, shape: asked[name] ?? (shape as number[]) }));
  return known.length > 0 ? known : Object.entries(asked).map(([name, shape]) => ({ name, shape }));
}

function refuse({ problems }: Findings, source: string): void {
  const [first, ...others] = problems;
  if (!first) return;
  throw new UserError('CONVERT_REFUSED', first.message, {
    place: source,
    ...(others.length > 0 ? { found: others.map(({ message }) => message).join(' ') } : {}),
    suggestions: [...new Set(problems.map(({ remedy }) => remedy))],
  });
}

/** Endings of what the converter writes. */
const RESULTS = ['.om', '.omc'];

async function execute(
  source: Source,
  name: string,
  line: string[],
  options: ConvertOptions,
): Promise<string | null> {
  const candidates = RESULTS.map((ending) => resolve(`${name}${ending}`));
  const taken = candidates.find((path) => existsSync(path));
  if (taken) {
    throw new UserError('CONVERT_EXISTS', `${taken} exists already and is not overwritten.`, {
      place: taken,
      suggestions: ['Give another name: --name NAME', 'Or remove it first.'],
    });
  }
  await source.make();
  await runConverter(CONVERTER, line, options);
  return candidates.find((path) => existsSync(path)) ?? null;
}
