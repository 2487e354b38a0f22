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

/** What the genes of a layer say, as indices of the choices above. */
interface Choice {
  block: Block;
  kernel: number;
  expansion: number;
  squeezes: number;
  width: number;
}

const choiceOf = (genome: Genome, index: number): Choice => {
  const [block, kernel, expansion, squeezes, width] = genome.slice(index * GENES.length) as [
    number,
    ...number[],
  ];
  return {
    block: BLOCKS[block]!,
    kernel: kernel!,
    expansion: expansion!,
    squeezes: squeezes!,
    width: width!,
  };
};

/** The layers that a genome stands for. */
export function layersOf(skeleton: Skeleton, genome: Genome): Layer[] {
  let { channels } = skeleton;
  return skeleton.filters.map((_, index) => {
    const layer = layerOf(skeleton, index, channels, choiceOf(genome, index));
    channels = layer.out;
    return layer;
  });
}

/**
 * For each layer, and each kind of block that it may be, the layer with the most channels and the largest window of any
 * genome: what shared weights are made for.
 */
export function largestLayers(skeleton: Skeleton): Record<string, Layer>[] {
  const most = {
    kernel: KERNELS.length - 1,
    expansion: EXPANSIONS.length - 1,
    squeezes: 1,
    width: WIDTHS.length - 1,
  };
  let { channels } = skeleton;
  return skeleton.filters.map((_, index) => {
    const layers = BLOCKS.map((block) => layerOf(skeleton, index, channels, { ...most, block }));
    channels = Math.max(...layers.map(({ out }) => out));
    return Object.fromEntries(layers.map((layer) => [layer.block, layer]));
  });
}

/** What shared weights are taught by: a residual block with all channels for every layer, which learns fast. */
export const guideLayers = (skeleton: Skeleton): Layer[] => {
  const genes = [BLOCKS.indexOf('residual'), 0, 0, 0, WIDTHS.length - 1];
  return layersOf(
    skeleton,
    skeleton.filters.flatMap(() => genes),
  );
};

function layerOf(skeleton: Skeleton, index: number, channels: number, choice: Choice): Layer {
  const { multiple } = skeleton;
  const [filter, stride] = [skeleton.filters[index]!, skeleton.strides[index]!];
  const fixed = isFixed(skeleton, index);
  const block = blockOf(choice.block, stride, !fixed || channels === filter);
  const wanted = fixed ? filter : rounded(filter * WIDTHS[choice.width]!, multiple);
  const out = block === 'skip' ? channels : wanted;
  const hidden = hiddenOf(block, channels, out, EXPANSIONS[choice.expansion]!, multiple);
  return {
    block,
    in: channels,
    out,
    stride,
    kernel: block === 'skip' ? 0 : KERNELS[choice.kernel]!,
    hidden,
    squeeze: block === 'mbconv' && choice.squeezes === 1 ? Math.max(8, Math.round(hidden / 4)) : 0,
  };
}

const isFixed = ({ filters, features }: Skeleton, index: number): boolean =>
  index === filters.length - 1 || features.includes(index);

/** A skip needs a map that stays as it is; elsewhere a plain convolution stands in its place. */
const blockOf = (block: Block, stride: number, anyChannels: boolean): Block =>
  block === 'skip' && (stride > 1 || !anyChannels) ? 'conv' : block;

/**
 * Channels inside of a block: those of its output (residual), a quarter of them (bottleneck: He et al., CVPR 2016, figure
 * 5), or a multiple of those of its input (mobile blocks: Sandler et al., CVPR 2018, table 1).
 */
function hiddenOf(block: Block, channels: number, out: number, expansion: number, multiple: number): number {
  if (block === 'residual') return out;
  if (block === 'bottleneck') return rounded(out / 4, multiple);
  return block === 'mbconv' || block === 'fused' ? rounded(channels * expansion, multiple) : 0;
}

/** The genome with every gene that changes nothing at its first value: equal networks have equal genomes. */
export function canonical(skeleton: Skeleton, genome: Genome): Genome {
  const layers = layersOf(skeleton, genome);
  return layers.flatMap(({ block }, index) => {
    const { kernel, expansion, squeezes, width } = choiceOf(genome, index);
    const expands = block === 'mbconv' || block === 'fused';
    return [
      BLOCKS.indexOf(block),
      block === 'skip' ? 0 : kernel,
      expands ? expansion : 0,
      block === 'mbconv' ? squeezes : 0,
      block === 'skip' || isFixed(skeleton, index) ? 0 : width,
    ];
  });
}

/** What was chosen for a layer: its kind of block, and what else is open to it. */
export interface LayerChoices {
  block: Block;
  others: { gene: string; value: number; choices: number }[];
}

/** For each layer what a genome chooses of what it could choose. */
export function layerChoices(skeleton: Skeleton, genome: Genome): LayerChoices[] {
  return layersOf(skeleton, genome).map(({ block }, index) => {
    const { kernel, expansion, squeezes, width } = choiceOf(genome, index);
    if (block === 'skip') return { block, others: [] };
    const others: LayerChoices['others'] = [{ gene: 'kernel', value: kernel, choices: KERNELS.length }];
    if (!isFixed(skeleton, index)) others.push({ gene: 'width', value: width, choices: WIDTHS.length });
    if (block === 'mbconv' || block === 'fused')
      others.push({ gene: 'expansion', value: expansion, choices: EXPANSIONS.length });
    if (block === 'mbconv') others.push({ gene: 'squeezes', value: squeezes, choices: 2 });
    return { block, others };
  });
}
