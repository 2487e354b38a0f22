import type { ConverterLimits } from '../config/converter-operators.js';
import type { GraphValue } from '../config/graph.js';
import { nearMatches } from '../graph/near-match.js';

/** What is known of the model that goes to the converter. */
export interface ModelFacts {
  /** Path as it stands in the command. */
  path: string;
  bytes: number;
  /** null for a model that is no ONNX. */
  opset: number | null;
  /** Number of nodes by operator type; other domains as `domain::Type`. */
  operators: ReadonlyMap<string, number>;
  inputs: readonly GraphValue[];
  outputs: readonly string[];
  /** Every tensor that can be an output; null where that is not known. */
  tensors: ReadonlySet<string> | null;
}

/** Something that the converter's documentation rules out, and what to do about it. */
export interface Problem {
  message: string;
  remedy: string;
}

export interface Findings {
  problems: Problem[];
  /** What may be refused. */
  warnings: string[];
}

const PATH_RULE =
  'The converter takes letters, digits and underscores in folder names, and dots in file names too.';

/**
 * Checks a model against the converter's documented limits. Pure.
 * @param shapes fixed shapes asked for, by input name
 * @param names further paths of the command: the result, files handed on
 */
export function checkModel(
  facts: ModelFacts,
  shapes: Readonly<Record<string, readonly number[]>>,
  names: readonly string[],
  limits: ConverterLimits,
): Findings {
  const problems = [
    ...checkOpset(facts, limits),
    ...checkSize(facts, limits),
    ...[facts.path, ...names].flatMap(checkPath),
    ...checkShapes(facts.inputs, shapes),
    ...checkOutputs(facts),
    ...[...facts.inputs.map(({ name }) => name), ...facts.outputs].flatMap(checkTensorName),
  ];
  const operators = checkOperators(facts.operators, limits);
  return { problems: [...problems, ...operators.problems], warnings: operators.warnings };
}

function checkOpset({ opset }: ModelFacts, { opset: { min, max } }: ConverterLimits): Problem[] {
  if (opset === null || (opset >= min && opset <= max)) return [];
  return [
    {
      message: `The model has opset ${opset}; the converter takes ${min} to ${max}.`,
      remedy: `Export the model again with an opset of ${min} to ${max}.`,
    },
  ];
}

function checkSize({ bytes }: ModelFacts, { maxBytes }: ConverterLimits): Problem[] {
  if (bytes <= maxBytes) return [];
  const size = (bytes / 2 ** 30).toFixed(1);
  return [
    {
      message: `The model has ${size} GiB; the converter takes up to ${maxBytes / 2 ** 30} GiB.`,
      remedy: 'Split the model, or give it in parts.',
    },
  ];
}

/** The first part of a path that the converter refuses for its characters; undefined when it takes the path. */
export function refusedPart(path: string): string | undefined {
  const parts = path.split('/').filter((part) => !['', '.', '..'].includes(part));
  const file = parts.pop() ?? '';
  return parts.find((part) => !/^\w+$/.test(part)) ?? (/^[\w.]+$/.test(file) ? undefined : file);
}

function checkPath(path: string): Problem[] {
  const wrong = refusedPart(path);
  if (wrong === undefined) return [];
  return [
    {
      message: `"${wrong}" in ${path} has characters that the converter refuses.`,
      remedy: `${PATH_RULE} Rename it to ${plainName(wrong)}.`,
    },
  ];
}

/** A name with everything that the converter refuses turned into underscores. */
export const plainName = (name: string): string => name.replace(/[^\w.]/g, '_');

function checkShapes(
  inputs: readonly GraphValue[],
  shapes: Readonly<Record<string, readonly number[]>>,
): Problem[] {
  const known = new Set(inputs.map(({ name }) => name));
  const strangers = Object.keys(shapes).filter((name) => inputs.length > 0 && !known.has(name));
  const found = strangers.map((name) => ({
    message: `The model has no input called ${name}.`,
    remedy: `Its inputs are ${[...known].join(', ')}.`,
  }));
  const open = inputs.filter(({ name, shape }) => !fits(shape, shapes[name]));
  if (open.length === 0) return found;
  const list = open.map(({ name, shape }) => `${name} [${shape?.join(', ') ?? '?'}]`).join(', ');
  const proposal = inputs
    .map(({ name, shape }) => `${name}:${shape?.map((dim) => (isSize(dim) ? dim : 1)).join(',') ?? '…'}`)
    .join(';');
  return [
    ...found,
    {
      message: `The converter needs fixed input shapes that agree with the model: ${list}.`,
      remedy: `Give them: --input-shape "${proposal}"`,
    },
  ];
}

const isSize = (dim: unknown): boolean => typeof dim === 'number' && dim > 0;

/** Whether a shape is fixed, or is fixed by what was asked for without changing what the model says. */
function fits(shape: GraphValue['shape'], asked: readonly number[] | undefined): boolean {
  if (!asked) return shape?.every(isSize) ?? false;
  if (!shape) return true;
  return shape.length === asked.length && shape.every((dim, i) => !isSize(dim) || dim === asked[i]);
}

function checkOutputs({ outputs, tensors }: ModelFacts): Problem[] {
  return outputs
    .filter((name) => tensors !== null && !tensors.has(name))
    .map((name) => {
      const near = nearMatches(name, tensors!);
      return {
        message: `The model has no tensor called ${name}.`,
        remedy:
          near.length > 0
            ? `Did you mean ${near.join(' or ')}?`
            : 'Leave --outputs out to keep its own outputs.',
      };
    });
}

/** Characters that separate names in --input_shape and --out_nodes. */
function checkTensorName(name: string): Problem[] {
  if (!/[;,"'\s]/.test(name)) return [];
  return [
    {
      message: `The tensor name "${name}" cannot be written on the converter's command line.`,
      remedy: 'Rename the tensor: names separate with ":" ";" and ","; spaces and quotes are refused.',
    },
  ];
}

function checkOperators(
  operators: ReadonlyMap<string, number>,
  { operators: known }: ConverterLimits,
): Findings {
  const of = (status: string | undefined): string[] =>
    [...operators].filter(([op]) => known[op] === status).map(([op, count]) => `${op} (${count})`);
  const [absent, uncertain, unknown] = [of('absent'), of('uncertain'), of(undefined)];
  const problems = absent.map((op) => ({
    message: `The converter has no operator ${op}.`,
    remedy: 'Convert the float network of the run: dopt convert RUN, or dopt export RUN --to float-onnx.',
  }));
  const warnings: string[] = [];
  if (uncertain.length > 0)
    warnings.push(
      `Not in the converter's documented list, though parts of it know them: ${uncertain.join(', ')}.`,
    );
  if (unknown.length > 0)
    warnings.push(
      `Not in the converter's documented list: ${unknown.join(', ')}; it will probably refuse them.`,
    );
  return { problems, warnings };
}
