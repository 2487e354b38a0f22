import type { Formats } from './assignment.js';
import type { LoweredNetwork } from './lower.js';
import { PRECISIONS } from './precision.js';
import { storedBytes } from './time.js';

/** A block of memory that one tensor, or several views of the same bytes, lie in. */
export interface Block {
  /** Tensors that lie in it. */
  tensors: readonly string[];
  bytes: number;
  offset: number;
  /** Kernels between which it is needed, by index, both included. */
  from: number;
  to: number;
}

export interface MemoryPlan {
  /** Bytes of all weights. */
  weights: number;
  /** Bytes of the arena that activations lie in. */
  arena: number;
  /** Most bytes alive at a time, no more than the arena; where, and what is alive there, largest first. */
  peak: { bytes: number; kernel: string; alive: readonly { tensor: string; bytes: number }[] };
  blocks: readonly Block[];
}

/**
 * Plans where activations lie: the largest block first, each at the lowest place that is free while it is needed
 * (Pisarchyk, Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020, section 5: greedy by size).
 */
export function planMemory(network: LoweredNetwork, formats: Formats, channelBlock: number): MemoryPlan {
  const { kernels } = network;
  const blocks = liveBlocks(network, (tensor) =>
    storedBytes(network.tensors.get(tensor)!, formats.bits.get(tensor)!, channelBlock),
  );
  place(blocks);
  const alive = kernels.map(() => 0);
  for (const { from, to, bytes } of blocks) for (let step = from; step <= to; step++) alive[step]! += bytes;
  const worst = alive.reduce((best, bytes, step) => (bytes > alive[best]! ? step : best), 0);
  const weights = kernels.reduce(
    (sum, kernel, index) => sum + (kernel.weights * PRECISIONS[formats.precisions[index]!].weights) / 8,
    0,
  );
  return {
    weights,
    arena: blocks.reduce((end, { offset, bytes }) => Math.max(end, offset + bytes), 0),
    peak: {
      bytes: alive[worst] ?? 0,
      kernel: kernels[worst]?.name ?? '',
      alive: blocks
        .filter(({ from, to }) => from <= worst && worst <= to)
        .map(({ tensors, bytes }) => ({ tensor: tensors[0]!, bytes }))
        .sort((a, b) => b.bytes - a.bytes),
    },
    blocks,
  };
}

/** Blocks with the time that they are needed; what a free operator reads and writes is the same block. */
function liveBlocks({ kernels, inputs, outputs }: LoweredNetwork, size: (tensor: string) => number): Block[] {
  const owner = new Map<string, string>();
  const root = (tensor: string): string => {
    let at = tensor;
    for (let next = owner.get(at); next !== undefined; next = owner.get(at)) at = next;
    return at;
  };
  // Backwards: parts that are joined lie in the whole, parts of a split in what was split.
  for (const { unit, reads, writes } of [...kernels].reverse())
    if (unit === 'free') {
      const [whole, parts] = reads.length > 1 ? [writes[0]!, reads] : [reads[0], writes];
      if (whole === undefined) continue;
      for (const part of parts) if (!owner.has(part) && root(whole) !== part) owner.set(part, root(whole));
    }
  const spans = new Map<string, { tensors: Set<string>; bytes: number; from: number; to: number }>();
  const touch = (tensor: string, step: number): void => {
    const key = root(tensor);
    const span = spans.get(key) ?? { tensors: new Set([key]), bytes: size(key), from: step, to: step };
    span.tensors.add(tensor);
    span.from = Math.min(span.from, step);
    span.to = Math.max(span.to, step);
    spans.set(key, span);
  };
  const known = new Set(kernels.flatMap(({ reads, writes }) => [...reads, ...writes]));
  for (const tensor of inputs) if (known.has(tensor)) touch(tensor, 0);
  kernels.forEach(({ reads, writes }, step) => {
    for (const tensor of [...reads, ...writes]) touch(tensor, step);
  });
  for (const tensor of outputs) if (known.has(tensor)) touch(tensor, kernels.length - 1);
  return [...spans.values()].map((span) => ({ ...span, tensors: [...span.tensors], offset: 0 }));
}

/** Gives each block its offset. */
function place(blocks: Block[]): void {
  const placed: Block[] = [];
  const bySize = [...blocks].sort((a, b) => b.bytes - a.bytes || a.from - b.from);
  for (const block of bySize) {
    let offset = 0;
    for (const other of placed) {
      const together = other.from <= block.to && block.from <= other.to;
      if (together && other.offset < offset + block.bytes && offset < other.offset + other.bytes)
        offset = other.offset + other.bytes;
    }
    block.offset = offset;
    // In order of their ends, so that one pass finds the lowest gap.
    const at = placed.findIndex((other) => other.offset > offset);
    placed.splice(at < 0 ? placed.length : at, 0, block);
  }
}
