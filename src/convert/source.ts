import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, extname, join } from 'node:path';
import { ensureEnvironment } from '../bridge/environments.js';
import { runJob } from '../bridge/jobs.js';
import type { EnvironmentKind } from '../bridge/profiles.js';
import type { Progress } from '../cli/progress.js';
import type { GraphFile } from '../config/graph.js';
import { DoptError, EXIT, UserError } from '../errors.js';
import { exportRun } from '../export/export.js';
import { openRun } from '../export/run-files.js';
import { loadGraph } from '../graph/graph.js';
import { nearPaths } from '../graph/near-paths.js';
import { shown } from '../run/history.js';
import { type ModelFacts, plainName, refusedPart } from './checks.js';

/** The model that goes to the converter. */
export interface Source {
  name: string;
  /** 3: TensorFlow, 5: ONNX. */
  framework: 3 | 5;
  facts: ModelFacts;
  /** Commands that make the model first. */
  prepare: string[][];
  /** Does what `prepare` says. */
  make: () => Promise<void>;
}

export interface SourceOptions {
  source: string;
  inputShapes: Record<string, number[]>;
  outputs: string[] | null;
  environment: EnvironmentKind;
  signal?: AbortSignal;
}

/**
 * What is to be converted: a run's float network, an ONNX file, or a frozen TensorFlow graph (of which nothing but the
 * names is checked).
 * @throws UserError CONVERT_SOURCE, CONVERT_REFUSED, CONVERT_USAGE, those of openRun and of the Python method `capture`
 */
export async function readSource(options: SourceOptions, progress: Progress): Promise<Source> {
  const { source } = options;
  if (!existsSync(source)) {
    throw new UserError('CONVERT_SOURCE', `${source} does not exist.`, {
      place: source,
      suggestions: [...nearPaths(source), 'Give a run folder, an .onnx file or a frozen .pb.'],
    });
  }
  if (statSync(source).isDirectory()) return runSource(options, progress);
  const ending = extname(source).toLowerCase();
  if (ending === '.onnx') return onnxSource(options, progress);
  if (ending === '.pb') return frozenSource(options);
  const remedy = /^\.(pt|pth|th|py)$/.test(ending)
    ? 'Quantize it first and convert the run, or export it to ONNX.'
    : 'Give a run folder, an .onnx file or a frozen .pb.';
  throw unusable(source, 'is no model that the converter takes', remedy);
}

const unusable = (source: string, why: string, remedy: string): UserError =>
  new UserError('CONVERT_SOURCE', `${source} ${why}.`, { place: source, suggestions: [remedy] });

/**
 * The float network of a run; exported beside the run's other results when it is not there yet, or into the current
 * folder when the converter would refuse the run's own path (runs/net-1).
 */
async function runSource(
  { source, environment, signal }: SourceOptions,
  progress: Progress,
): Promise<Source> {
  const run = await openRun(source);
  const { name } = run.result.model;
  const inside = join(run.folder, `${plainName(name)}.float.onnx`);
  const taken = refusedPart(shown(inside)) === undefined;
  const path = taken ? inside : join(process.cwd(), basename(inside));
  const { file } = run.graph;
  // One in the current folder may be another run's: it is never taken, nor written over.
  const ready = taken && existsSync(path);
  return {
    name,
    framework: 5,
    facts: { ...graphFacts(file), path: shown(path), bytes: run.result.sizes.float },
    prepare: ready ? [] : [['dopt', 'export', shown(run.folder), '--to', 'float-onnx', '--out', shown(path)]],
    make: async () => {
      if (ready) return;
      const options = { run: run.folder, format: 'float-onnx', out: path, environment, progress };
      await exportRun({ ...options, ...(signal ? { signal } : {}) });
    },
  };
}

const asIs = { prepare: [], make: async (): Promise<void> => {} };

async function onnxSource(options: SourceOptions, progress: Progress): Promise<Source> {
  const { source, signal } = options;
  const environment = await ensureEnvironment('onnx', options.environment, {
    onProgress: (line) => progress.note(line),
  });
  const out = mkdtempSync(join(tmpdir(), 'dopt-convert-'));
  try {
    const params = { model: source, out, inputShapes: {}, outputs: null, float16ToFloat32: false, seed: 0 };
    const capture = await runJob(environment, 'capture', params, signal ? { signal } : {});
    const { file } = await loadGraph(capture.graph);
    const facts = { ...graphFacts(file), opset: capture.opset.from };
    const { bytes } = capture.source;
    return { name: stem(source), framework: 5, facts: { ...facts, path: shown(source), bytes }, ...asIs };
  } catch (error) {
    throw quantizedAlready(error, source);
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

/** A model with quantizers in the words of this command. */
function quantizedAlready(error: unknown, source: string): unknown {
  if (!(error instanceof DoptError) || error.code !== 'MODEL_ALREADY_QUANTIZED') return error;
  return new UserError('CONVERT_REFUSED', `${error.message} The converter has no such operator.`, {
    place: source,
    cause: error,
    suggestions: ['Convert the float network of the run that made it: dopt convert RUN'],
  });
}

/** A frozen TensorFlow graph: inputs and outputs come from the flags. */
function frozenSource({ source, inputShapes, outputs }: SourceOptions): Source {
  const missing = [
    ...(Object.keys(inputShapes).length === 0 ? ['--input-shape "NAME:1,224,224,3"'] : []),
    ...(outputs === null ? ['--outputs NODE:0'] : []),
  ];
  if (missing.length > 0) {
    throw new UserError('CONVERT_USAGE', `A TensorFlow graph needs ${missing.join(' and ')}.`, {
      place: source,
      exitCode: EXIT.usage,
    });
  }
  const bare = outputs!.filter((name) => !/:\d+$/.test(name));
  if (bare.length > 0) {
    throw new UserError('CONVERT_USAGE', 'Outputs of a TensorFlow graph need their index.', {
      place: source,
      exitCode: EXIT.usage,
      expected: bare.map((name) => `${name}:0`).join(', '),
      found: bare.join(', '),
    });
  }
  const facts: ModelFacts = {
    path: shown(source),
    bytes: statSync(source).size,
    opset: null,
    operators: new Map(),
    inputs: [],
    outputs: outputs!,
    tensors: null,
  };
  return { name: stem(source), framework: 3, facts, ...asIs };
}

function graphFacts({ opset, nodes, inputs, outputs }: GraphFile): Omit<ModelFacts, 'path' | 'bytes'> {
  const operators = new Map<string, number>();
  for (const { op, domain } of nodes) {
    const name = domain === '' ? op : `${domain}::${op}`;
    operators.set(name, (operators.get(name) ?? 0) + 1);
  }
  const tensors = new Set(nodes.flatMap((node) => node.outputs).filter((name) => name !== ''));
  return { opset: opset[''] ?? null, operators, inputs, outputs: outputs.map(({ name }) => name), tensors };
}

/** A file's name without folder and ending. */
const stem = (path: string): string => basename(path, extname(path));
