import type { Rates } from './device.js';
import type { Kernel, Product, TensorSize } from './kernel.js';
import { PRECISIONS } from './precision.js';
import { type Tiling, tile } from './tiling.js';

/** What limits a kernel: a unit, a way to memory, its start, or the host that runs it. */
export type Bound = 'matrix' | 'vector' | 'external' | 'onChip' | 'buffers' | 'overhead' | 'host';

/** Seconds that each part of a device is busy with a kernel. */
export interface Pipes {
  matrix: number;
  /** Depthwise convolutions count here, whichever unit computes them. */
  vector: number;
  /** External memory: weights, and activations that do not stay on the chip. */
  external: number;
  /** Activations that stay on the chip. */
  onChip: number;
  /** The ways between the buffers of a core. */
  buffers: number;
}

/**
 * Seconds that a kernel takes. The units of a core work side by side, and the ways to memory share their movers.
 * @param overlap share of moving and computing at the same time: 1 with double buffers, 0 where one waits for the other
 */
export function busySeconds({ matrix, vector, external, onChip, buffers }: Pipes, overlap: number): number {
  const computing = Math.max(matrix, vector, buffers);
  const moving = external + onChip;
  return Math.max(computing, moving) + (1 - overlap) * Math.min(computing, moving);
}

/** Bytes that a kernel moves. */
export interface Traffic {
  weights: number;
  /** Activations to and from external memory, and those that stay on the chip. */
  external: number;
  onChip: number;
}

export interface KernelTime {
  seconds: number;
  overhead: number;
  bound: Bound;
  pipes: Pipes;
  traffic: Traffic;
}

/** Bytes of a tensor in memory: channels padded to whole blocks. */
export const storedBytes = (size: TensorSize, bits: number, block: number): number =>
  (paddedElements(size, bits, block) * bits) / 8;

/** Elements of a tensor with its channels padded to whole blocks of bytes. */
function paddedElements({ shape, elements, channelAxis }: TensorSize, bits: number, block: number): number {
  const channels = shape[channelAxis];
  if (block === 0 || channels === undefined || channels === 0) return elements;
  return (elements / channels) * upTo(channels, channelsOf(block, bits));
}

/** Channels in a block of bytes. */
const channelsOf = (block: number, bits: number): number => Math.max(1, Math.floor((block * 8) / bits));

/** Multiplications of a product with every side padded to what the matrix unit takes at once. */
export function paddedMacs(
  { m, k, n, taps, groups }: Product,
  { tile: [rows, inner, columns], tapTile }: Rates,
): number {
  let depth = taps * upTo(k, inner);
  // A short inner length may be filled with several taps of the window instead.
  if (tapTile) depth = Math.min(depth, upTo(taps, tapTile[0]) * upTo(k, tapTile[1]));
  return upTo(m, rows) * depth * upTo(n, columns) * groups;
}

const upTo = (value: number, multiple: number): number => Math.ceil(value / multiple) * multiple;

/** Operators whose coefficients change from pixel to pixel, or that work across channels: one block of channels at a time. */
const BLOCKWISE: ReadonlySet<string> = new Set([
  ...['Resize', 'Upsample', 'GridSample', 'RoiAlign', 'ArgMax', 'ArgMin', 'Softmax', 'LogSoftmax', 'LRN'],
]);

/**
 * Time of a kernel: the longest of what works at the same time, and its start.
 *
 * Weights and activations share the way to external memory, and what stays on the chip goes through the same movers, so
 * these times add up.
 * @param sizes of a tensor
 * @param bits of an element of a tensor in memory
 */
export function kernelTime(
  kernel: Kernel,
  rates: Rates,
  sizes: (tensor: string) => TensorSize,
  bits: (tensor: string) => number,
  tilings: Map<string, Tiling>,
): KernelTime {
  if (kernel.unit === 'free') return FREE;
  const bytes = (tensor: string): number => storedBytes(sizes(tensor), bits(tensor), rates.channelBlock);
  if (kernel.unit === 'host') return hostTime(kernel, rates, bytes);
  const traffic = trafficOf(kernel, rates, bytes);
  const { activations } = PRECISIONS[rates.precision];
  const pipes: Pipes = { ...IDLE, vector: vectorTime(kernel, rates, sizes, activations) };
  const { product } = kernel;
  if (product && kernel.unit === 'depthwise') {
    const channels = upTo(product.groups, channelsOf(rates.channelBlock, activations));
    const macs = product.m * upTo(product.taps, rates.depthwiseTaps) * product.n * channels;
    pipes.vector = Math.max(pipes.vector, macs / rates.depthwise);
  } else if (product) {
    pipes.matrix = paddedMacs(product, rates) / rates.matrix;
    if (rates.buffers) {
      const plan = tilingOf(product, rates, tilings);
      traffic.weights *= plan.weightReads;
      const inputs = kernel.reads[0] === undefined ? 0 : bytes(kernel.reads[0]);
      const again = (plan.activationReads - 1) * inputs;
      const outside = traffic.external / Math.max(1, traffic.external + traffic.onChip);
      traffic.external += again * outside;
      traffic.onChip += again * (1 - outside);
      pipes.buffers = Math.max(plan.l0aBytes / rates.buffers.toL0a, plan.l0bBytes / rates.buffers.toL0b);
    }
  }
  pipes.external = traffic.weights / rates.weights + traffic.external / rates.activations;
  pipes.onChip = traffic.onChip / rates.onChip;
  const factor = rates.kinds[kernel.op] ?? 1;
  const busy = busySeconds(pipes, rates.overlap) * factor;
  const overhead = (product ? rates.layer : rates.operator) * factor;
  return { seconds: busy + overhead, overhead, bound: boundOf(pipes, busy, overhead), pipes, traffic };
}

const IDLE: Pipes = { matrix: 0, vector: 0, external: 0, onChip: 0, buffers: 0 };

const FREE: KernelTime = {
  seconds: 0,
  overhead: 0,
  bound: 'overhead',
  pipes: IDLE,
  traffic: { weights: 0, external: 0, onChip: 0 },
};

function boundOf(pipes: Pipes, busy: number, overhead: number): Bound {
  if (overhead >= busy) return 'overhead';
  const { matrix, vector, external, onChip, buffers } = pipes;
  const moving = external + onChip;
  if (matrix >= Math.max(vector, moving, buffers)) return 'matrix';
  if (vector >= Math.max(moving, buffers)) return 'vector';
  if (buffers >= moving) return 'buffers';
  return external >= onChip ? 'external' : 'onChip';
}

/**
 * Every result passes the vector unit once on its way out; operators without a product do all their work there. It passes
 * over whole blocks of channels, as they are stored.
 */
function vectorTime(
  kernel: Kernel,
  rates: Rates,
  sizes: (tensor: string) => TensorSize,
  bits: number,
): number {
  const over = sizes(kernel.product ? kernel.writes[0]! : kernel.over);
  const passes = kernel.product ? 1 : kernel.vector / Math.max(1, over.elements);
  const share = BLOCKWISE.has(kernel.op) ? rates.blockShare : 1;
  return (passes * storedBytes(over, bits, rates.channelBlock)) / (rates.vector * share);
}

/** Splits activations into what stays on the chip and what goes out: of a tensor that is larger, as much as there is room. */
function trafficOf(kernel: Kernel, rates: Rates, bytes: (tensor: string) => number): Traffic {
  let external = 0;
  let onChip = 0;
  for (const list of [kernel.reads, kernel.writes])
    for (const tensor of list) {
      const size = bytes(tensor);
      const stays = Math.min(size, rates.onChipBytes);
      onChip += stays;
      external += size - stays;
    }
  const weights = (kernel.weights * PRECISIONS[rates.precision].weights) / 8;
  return { weights, external, onChip };
}

/** The host gets the inputs, computes, and gives the results back; each way it has to be called. */
function hostTime(kernel: Kernel, rates: Rates, bytes: (tensor: string) => number): KernelTime {
  const moved = [...kernel.reads, ...kernel.writes].reduce((sum, tensor) => sum + bytes(tensor), 0);
  const { seconds, bandwidth, elements } = rates.host;
  const overhead = 2 * seconds;
  return {
    seconds: overhead + moved / bandwidth + kernel.vector / elements,
    overhead,
    bound: 'host',
    pipes: { ...IDLE, external: moved / bandwidth },
    traffic: { weights: 0, external: moved, onChip: 0 },
  };
}

function tilingOf(product: Product, rates: Rates, tilings: Map<string, Tiling>): Tiling {
  const { m, k, n, taps, groups } = product;
  const key = `${rates.precision} ${m} ${k} ${n} ${taps} ${groups}`;
  const known = tilings.get(key);
  if (known) return known;
  const plan = tile(product, rates);
  tilings.set(key, plan);
  return plan;
}
