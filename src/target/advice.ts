import type { Advice } from '../config/cost.js';
import type { Assignment } from './assignment.js';
import type { CostModel, KernelCost, NetworkCost } from './cost-model.js';
import type { Rates } from './device.js';
import type { LoweredNetwork } from './lower.js';
import { PRECISIONS, type Precision } from './precision.js';
import { busySeconds, paddedMacs, storedBytes } from './time.js';

/** Most pieces of advice, and the share of the time that one has to bring. */
const MOST = 5;
const WORTH = 0.003;

/**
 * What to change in a network so that it runs faster on a device, by what it would bring: channels that do not fill the
 * matrix unit, kernels that only move values, fully connected layers that wait for their weights, operators that run on
 * the host, and functions that layers cannot compute on the way. A gain is that of one change alone.
 */
export function adviceFor(
  model: CostModel,
  network: LoweredNetwork,
  assignment: Assignment,
  cost: NetworkCost,
): Advice[] {
  const { bits } = model.formats(network, assignment);
  const found = cost.kernels.flatMap((kernel, index) =>
    [
      channelAdvice(kernel, model.rates(kernel.precision), network, bits),
      blockAdvice(kernel, model.rates(kernel.precision), network),
      moverAdvice(kernel),
      weightAdvice(model, network, assignment, cost, kernel),
      hostAdvice(kernel, model.rates(assignment.rest)),
      functionAdvice(kernel, cost.kernels[index - 1]),
    ].filter((advice) => advice !== null),
  );
  return found
    .filter(({ gain }) => gain >= WORTH * cost.seconds)
    .sort((a, b) => b.gain - a.gain)
    .slice(0, MOST);
}

const advice = (kind: Advice['kind'], { kernel }: KernelCost, gain: number, message: string): Advice => ({
  kind,
  layer: kernel.name,
  message,
  gain,
});

/** Channels that leave part of the matrix unit empty; those of the picture itself cannot be changed. */
function channelAdvice(
  cost: KernelCost,
  rates: Rates,
  { inputs, tensors }: LoweredNetwork,
  bits: ReadonlyMap<string, number>,
): Advice | null {
  const { kernel, pipes, traffic, precision } = cost;
  if (kernel.unit !== 'matrix' || !kernel.product) return null;
  const { k, n, groups } = kernel.product;
  const [rows, inner, columns] = rates.tile;
  const fixed = kernel.reads.some((tensor) => inputs.includes(tensor));
  const useful = { ...kernel.product, m: rows, ...(fixed && { k: Math.ceil(k / inner) * inner }) };
  const share = (rows * useful.k * n * useful.taps * groups) / paddedMacs(useful, rates);
  if (share > 0.999) return null;
  // Maps of whole blocks of channels take no bytes of padding either.
  const maps = [...kernel.reads, ...kernel.writes].filter((tensor) => !inputs.includes(tensor));
  const bytes = (block: number): number =>
    maps.reduce((sum, tensor) => sum + storedBytes(tensors.get(tensor)!, bits.get(tensor)!, block), 0);
  const padding = 1 - bytes(0) / bytes(rates.channelBlock);
  const full = busySeconds(
    {
      ...pipes,
      matrix: pipes.matrix * share,
      vector: pipes.vector * (1 - padding),
      external: pipes.external - (padding * traffic.external) / rates.activations,
      onChip: pipes.onChip * (1 - padding),
    },
    rates.overlap,
  );
  return advice(
    'channels',
    cost,
    cost.seconds - cost.overhead - full,
    `${k} channels in and ${n} out${groups > 1 ? ' a group' : ''} fill ${(100 * share).toFixed(0)} % of the matrix unit in ` +
      `${precision}: multiples of ${inner} in and ${columns} out fill it.`,
  );
}

/** Channels that leave part of a stored block empty, where the vector unit passes over all of it. */
function blockAdvice(cost: KernelCost, rates: Rates, { tensors }: LoweredNetwork): Advice | null {
  const { kernel, precision } = cost;
  if (kernel.unit !== 'vector' || cost.bound !== 'vector') return null;
  const over = tensors.get(kernel.over)!;
  const bits = PRECISIONS[precision].activations;
  const share = storedBytes(over, bits, 0) / storedBytes(over, bits, rates.channelBlock);
  if (share > 0.999) return null;
  const channels = over.shape[over.channelAxis]!;
  return advice(
    'channels',
    cost,
    (cost.seconds - cost.overhead) * (1 - share),
    `${channels} channels are computed as ${Math.round(channels / share)}: whole blocks of ${(rates.channelBlock * 8) / bits} ` +
      'have no empty places.',
  );
}

const moverAdvice = (cost: KernelCost): Advice | null =>
  cost.kernel.unit === 'mover' && !cost.kernel.guessed
    ? advice(
        'mover',
        cost,
        cost.seconds,
        `${cost.kernel.op} only moves values: a layout that needs no copy saves all of it.`,
      )
    : null;

/** Precisions with narrower weights, widest first. */
const NARROWER: Partial<Record<Precision, readonly Precision[]>> = {
  fp32: ['fp16', 'int8', 'int4'],
  fp16: ['int8', 'int4'],
  int8: ['int4'],
  int16: ['int4'],
};

function weightAdvice(
  model: CostModel,
  network: LoweredNetwork,
  { rest, layers }: Assignment,
  { seconds }: NetworkCost,
  cost: KernelCost,
): Advice | null {
  const { kernel, precision } = cost;
  const isLinear = kernel.product?.taps === 1 && kernel.product.m === 1;
  if (!isLinear || cost.bound !== 'external' || !model.takesIntegers(kernel)) return null;
  const narrower = NARROWER[precision]?.find((name) => model.precisions.includes(name));
  if (narrower === undefined) return null;
  const changed = new Map(layers).set(kernel.name, narrower);
  const gain = seconds - model.predict(network, { rest, layers: changed }).seconds;
  const bits = PRECISIONS[narrower].weights;
  return advice(
    'weights',
    cost,
    gain,
    `waits for its weights: ${bits}-bit weights (${narrower}) bring them in sooner.`,
  );
}

function hostAdvice(cost: KernelCost, rates: Rates): Advice | null {
  if (cost.kernel.unit !== 'host') return null;
  const there = cost.kernel.vector / rates.vector + rates.operator;
  return advice(
    'host',
    cost,
    cost.seconds - there,
    `${cost.kernel.op} runs on the host, with copies both ways: cut the network before it, or use an operator of the device.`,
  );
}

/** A function that stands in a kernel of its own right behind a layer. */
function functionAdvice(cost: KernelCost, before: KernelCost | undefined): Advice | null {
  const { kernel } = cost;
  const behindLayer =
    before?.kernel.product && before.kernel.writes.some((tensor) => kernel.reads.includes(tensor));
  if (kernel.kind !== 'activation' || kernel.unit !== 'vector' || !behindLayer) return null;
  return advice(
    'function',
    cost,
    cost.seconds,
    `${kernel.op} takes a kernel of its own: a function that the layer before it computes (Relu, for one) takes none.`,
  );
}
