import type { Params, Result } from '../bridge/protocol.js';
import type { LlmLayer, LlmLayers, LlmStrategyName } from '../config/llm-layers.js';
import { EXIT, UserError } from '../errors.js';
import { nearMatches } from '../graph/near-match.js';
import { matcher } from '../quantize/plan/exclude.js';
import { groupSizeError, usualGroupSize } from './group-size.js';
import type { LlmActivations, LlmWidths } from './options.js';

export type LlmInspection = Result<'llmInspect'>;
export type LlmLinear = LlmInspection['linears'][number];
export type LlmStrategy = Params<'llmQuantize'>['linears'][number];

/** What becomes of each layer. */
export interface LayerPlan {
  linears: LlmStrategy[];
  /** Linears and other matrices that stay float, and why. */
  float: { name: string; reason: string }[];
  embeddingBits: 8 | null;
  activations: LlmActivations | null;
  /** Layers that a layer file names one by one or by pattern. */
  named: number;
}

/**
 * Decides the width of every linear. Pure.
 *
 * Later entries of `layers` win over earlier ones, names over patterns; what none of them names is as `widths` says.
 * @throws UserError LLM_GROUP_SIZE, LLM_GROUP_OF_8_BITS, LLM_LAYER_UNKNOWN, LLM_ACTIVATION_WIDTHS
 */
export function planLayers(
  model: LlmInspection,
  widths: LlmWidths,
  layers: LlmLayers | null,
  activations: LlmActivations | null,
): LayerPlan {
  refuseGroupsOf8Bits(widths);
  const rules = rulesFor(model, layers ?? {});
  const linears: LlmStrategy[] = [];
  const float = model.uncovered.map(({ name }) => ({ name, reason: 'no linear layer' }));
  const asked: { name: string; inputs: number; size: number }[] = [];
  for (const linear of model.linears) {
    const rule = rules.get(linear.name);
    const strategy = strategyOf(linear, rule, widths);
    if (strategy === null) {
      float.push({ name: linear.name, reason: rule ? 'asked for' : 'no width was asked for' });
      continue;
    }
    const given = rule?.weight?.group_size ?? (strategy.bits === 4 && !linear.head ? widths.groupSize : null);
    if (given !== null && given > 0) asked.push({ name: linear.name, inputs: linear.shape[1]!, size: given });
    linears.push(strategy);
  }
  refuseGroups(asked);
  const embedding = rules.get(model.embedding.name);
  if (embedding?.weight?.bit === 4) {
    throw new UserError('LLM_EMBEDDING_BITS', `${model.embedding.name} cannot have 4 bits.`, {
      place: model.embedding.name,
      expected: '8 bits with a scale a row, or float',
    });
  }
  return {
    linears,
    float,
    embeddingBits: embedding?.quant_strategy === 'float' ? null : embedding ? 8 : widths.embeddingBits,
    activations: activations && activationsFor(rules, activations),
    named: rules.size,
  };
}

function refuseGroupsOf8Bits({ bits, groupSize }: LlmWidths): void {
  if (bits === 4 || groupSize === null || groupSize === 0) return;
  throw groupOf8Bits('--group-size', groupSize);
}

/** The original takes a group size for 8 bits and ignores it: two runs that should differ are the same. */
const groupOf8Bits = (place: string, size: number): UserError =>
  new UserError(
    'LLM_GROUP_OF_8_BITS',
    `${place}: weights of 8 bits have a scale a row, not groups of ${size}.`,
    {
      place,
      exitCode: EXIT.invalidInput,
      expected: 'no group size, or channel, beside 8 bits',
      found: String(size),
      suggestions: ['Take 4 bits with groups, or leave the group size out.'],
    },
  );

/** Entries of a layer file by the layer that they hold for. */
function rulesFor(model: LlmInspection, layers: LlmLayers): Map<string, LlmLayer> {
  const names = [...model.linears.map(({ name }) => name), model.embedding.name];
  const rules = new Map<string, LlmLayer>();
  const entries = Object.entries(layers).filter(([key]) => !key.startsWith('//'));
  const patterns = entries.filter(([key]) => key.includes('*'));
  const single = entries.filter(([key]) => !key.includes('*'));
  for (const [key, layer] of [...patterns, ...single]) {
    const matches = matcher(key);
    // Files of the original name a module or its weight.
    const found = names.filter((name) => matches(name) || matches(`${name}.weight`));
    if (found.length === 0) throw unknownLayer(key, names);
    for (const name of found) rules.set(name, layer);
    const size = layer.weight?.group_size ?? 0;
    if (size > 0 && layer.weight?.bit === 8) throw groupOf8Bits(key, size);
  }
  return rules;
}

function unknownLayer(key: string, names: readonly string[]): UserError {
  const near = nearMatches(key, names);
  return new UserError(
    'LLM_LAYER_UNKNOWN',
    `dopt_config.json names ${key}, which matches no layer of the model.`,
    {
      place: key,
      suggestions: [
        ...near.map((name) => `Did you mean ${name}?`),
        'See all layers with: dopt llm plan MODEL_DIR',
      ],
    },
  );
}

const EIGHT_BITS: readonly LlmStrategyName[] = ['Quant_aigc_ptq', 'Quant_aigc_qat', 'Quant_Embed_MinMax'];

/** What is done to a linear; null for nothing. */
function strategyOf(linear: LlmLinear, rule: LlmLayer | undefined, widths: LlmWidths): LlmStrategy | null {
  const name = rule?.quant_strategy || null;
  if (name === 'float') return null;
  const usual = linear.head ? widths.headBits : widths.bits;
  const bits =
    rule?.weight?.bit ?? (name !== null && EIGHT_BITS.includes(name) ? 8 : (usual ?? (rule ? 8 : null)));
  if (bits === null) return null;
  const given = rule?.weight?.group_size ?? 0;
  if (bits === 8 && given > 0) throw groupOf8Bits(linear.name, given);
  const size = rule?.weight?.group_size ?? (linear.head ? 0 : widths.groupSize);
  const groupSize = bits === 8 ? 0 : Math.max(0, size ?? usualGroupSize(linear.shape[1]!));
  return {
    name: linear.name,
    bits,
    groupSize,
    fullRange: widths.fullRange,
    strategy:
      name ?? (linear.head ? 'Quant_lm_head' : bits === 8 ? 'Quant_aigc_ptq' : 'Quant_act_weight_eco'),
  };
}

function refuseGroups(asked: readonly { name: string; inputs: number; size: number }[]): void {
  const wrong = asked.filter(({ inputs, size }) => inputs % size !== 0);
  if (wrong.length === 0) return;
  const { size } = wrong[0]!;
  throw groupSizeError(
    size,
    wrong.filter((one) => one.size === size),
    asked.map(({ inputs }) => inputs),
  );
}

/** Activations have one width for the whole model: that of the layer file, where it says one. */
function activationsFor(rules: ReadonlyMap<string, LlmLayer>, usual: LlmActivations): LlmActivations {
  const inputs = [...rules.values()].flatMap(({ input }) => input ?? []);
  const bits = [...new Set(inputs.flatMap(({ bit }) => bit ?? []))];
  const unsigned = [...new Set(inputs.flatMap(({ unsigned_quant }) => unsigned_quant ?? []))];
  if (bits.length > 1 || unsigned.length > 1) {
    throw new UserError(
      'LLM_ACTIVATION_WIDTHS',
      'dopt_config.json asks for activations of several kinds; a model has one.',
      {
        expected: 'the same input.bit and input.unsigned_quant for all layers',
        found: [...bits.map((bit) => `${bit} bits`), ...unsigned.map((one) => `unsigned_quant ${one}`)].join(
          ', ',
        ),
      },
    );
  }
  return {
    bits: bits[0] ?? usual.bits,
    kvBits: Math.min(usual.kvBits, bits[0] ?? usual.bits) as LlmActivations['kvBits'],
    symmetric: unsigned[0] === undefined ? usual.symmetric : !unsigned[0],
  };
}
