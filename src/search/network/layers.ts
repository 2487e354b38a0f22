import type { Genome, Space } from '../space.js';

/** Kinds of block that a layer may be; the first one fits everywhere. */
export const BLOCKS = ['conv', 'residual', 'bottleneck', 'mbconv', 'fused', 'skip'] as const;
export type Block = (typeof BLOCKS)[number];

export const KERNELS = [3, 5] as const;
export const EXPANSIONS = [2, 4, 6] as const;
/** Shares of the channels that the scenario gives a layer. */
export const WIDTHS = [0.5, 0.75, 1] as const;

/** A layer as it is built: everything that a framework needs, and nothing to decide. */
export interface Layer {
  block: Block;
  in: number;
  out: number;
  stride: number;
  kernel: number;
  /** Channels inside of the block; 0 where it has no inside. */
  hidden: number;
  /** Channels that squeeze-and-excitation squeezes to; 0 for none. */
  squeeze: number;
}

/** What the scenario fixes of the searched part. */
export interface Skeleton {
  /** Channels that come in. */
  channels: number;
  filters: readonly number[];
  strides: readonly number[];
  /** Layers whose results something outside reads: their channels stay as they are. The last one always does. */
  features: readonly number[];
  /** Channels come in multiples of it. */
  multiple: number;
}

/** Genes of a layer, in this order: block, kernel, expansion, squeeze-and-excitation, width. */
const GENES: Space = [
  { choices: BLOCKS.length, ordered: false },
  { choices: KERNELS.length, ordered: true },
  { choices: EXPANSIONS.length, ordered: true },
  { choices: 2, ordered: true },
  { choices: WIDTHS.length, ordered: true },
];

export const spaceOf = ({ filters }: Skeleton): Space => filters.flatMap(() => GENES);

/** A number of channels as a whole multiple, rounded, at least one. */
const rounded = (channels: number, multiple: number): number =>
  Math.max(multiple, Math.round(channels / multiple) * multiple);

/** The layers that a genome stands for. */
export function layersOf(skeleton: Skeleton, genome: Genome): Layer[] {
  const { filters, strides, multiple } = skeleton;
  let channels = skeleton.channels;
  return filters.map((filter, index) => {
    const [kind, kernel, expansion, squeezes, width] = genome.slice(
      index * GENES.length,
      (index + 1) * GENES.length,
    ) as [number, number, number, number, number];
    const stride = strides[index]!;
    const fixed = isFixed(skeleton, index);
    const block = blockOf(BLOCKS[kind]!, stride, !fixed || channels === filter);
    const out = block === 'skip' ? channels : fixed ? filter : rounded(filter * WIDTHS[width]!, multiple);
    const layer = { block, in: channels, out, stride, ...insides(block, channels, out, multiple) };
    const expands = block === 'mbconv' || block === 'fused';
    const hidden = expands ? rounded(channels * EXPANSIONS[expansion]!, multiple) : layer.hidden;
    channels = out;
    return {
      ...layer,
      kernel: block === 'skip' ? 0 : KERNELS[kernel]!,
      hidden,
      squeeze: block === 'mbconv' && squeezes === 1 ? Math.max(8, Math.round(hidden / 4)) : 0,
    };
  });
}

const isFixed = ({ filters, features }: Skeleton, index: number): boolean =>
  index === filters.length - 1 || features.includes(index);

/** A skip needs a map that stays as it is; elsewhere a plain convolution stands in its place. */
const blockOf = (block: Block, stride: number, anyChannels: boolean): Block =>
  block === 'skip' && (stride > 1 || !anyChannels) ? 'conv' : block;

/** A residual block has its output's channels inside, a bottleneck a quarter of them (He et al., CVPR 2016, figure 5). */
function insides(block: Block, _in: number, out: number, multiple: number): { hidden: number } {
  if (block === 'residual') return { hidden: out };
  if (block === 'bottleneck') return { hidden: rounded(out / 4, multiple) };
  return { hidden: 0 };
}

/** The genome with every gene that changes nothing at its first value: equal networks have equal genomes. */
export function canonical(skeleton: Skeleton, genome: Genome): Genome {
  const layers = layersOf(skeleton, genome);
  return layers.flatMap(({ block }, index) => {
    const [, kernel, expansion, squeezes, width] = genome.slice(index * GENES.length) as [
      number,
      ...number[],
    ];
    const expands = block === 'mbconv' || block === 'fused';
    return [
      BLOCKS.indexOf(block),
      block === 'skip' ? 0 : kernel!,
      expands ? expansion! : 0,
      block === 'mbconv' ? squeezes! : 0,
      block === 'skip' || isFixed(skeleton, index) ? 0 : width!,
    ];
  });
}
