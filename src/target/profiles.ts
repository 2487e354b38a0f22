import { EXIT, UserError } from '../errors.js';
import { nearMatches } from '../graph/near-match.js';

/** What a device computes in integers; everything else runs in float16 or on the host. */
export interface TargetProfile {
  name: string;
  description: string;
  /** Kinds of group (plan.json) with integer kernels: their inputs carry quantizers. */
  integerKinds: ReadonlySet<string>;
  /**
   * What lies in memory between operators. 'float16': every integer layer quantizes its own inputs, and an operator that
   * computes in float reads the value before rounding. 'integer': a tensor with a quantizer exists as integers only.
   */
  storage: 'float16' | 'integer';
  /** Weights of Conv and ConvTranspose may have one scale an output channel. */
  perChannelConv: boolean;
  /** Weights of Gemm and MatMul may have one scale an output channel. */
  perChannelLinear: boolean;
  /** Integer layers also take int16 activations with int8 weights (strategy int16-8). */
  int16Activations: boolean;
}

const LAYERS = ['conv', 'convtranspose', 'gemm', 'matmul'];

/**
 * Kirin: the graph interface of the chips has integer forms of convolution, depthwise convolution, fully connected and
 * matrix product only (each carries the scale of its input and of its weights); sums, products, pooling and
 * concatenation run in float16 between them. Before Kirin 9020 a fully connected layer takes a single weight scale,
 * and the original tool offers int16 activations for the newer chips only.
 */
const PROFILES: readonly TargetProfile[] = [
  {
    name: 'kirin9020',
    description: 'Kirin 9020 and later: integer layers, float16 between them, weight scales per channel',
    integerKinds: new Set(LAYERS),
    storage: 'float16',
    perChannelConv: true,
    perChannelLinear: true,
    int16Activations: true,
  },
  {
    name: 'kirin9000',
    description: 'Kirin before 9020: as kirin9020, but one weight scale for a fully connected layer',
    integerKinds: new Set(LAYERS),
    storage: 'float16',
    perChannelConv: true,
    perChannelLinear: false,
    int16Activations: false,
  },
  {
    name: 'generic-npu',
    description: 'integers throughout: sums, products, pooling, resizing and concatenation are quantized too',
    storage: 'integer',
    integerKinds: new Set([...LAYERS, 'add', 'sub', 'mul', 'pool', 'concat', 'resample']),
    perChannelConv: true,
    perChannelLinear: true,
    int16Activations: true,
  },
];

export const TARGETS: readonly string[] = PROFILES.map((profile) => profile.name);
export const DEFAULT_TARGET = TARGETS[0]!;

/** A target whose weights all have one scale a tensor, whatever it could do. */
export const withTensorWeights = (profile: TargetProfile): TargetProfile => ({
  ...profile,
  perChannelConv: false,
  perChannelLinear: false,
});

/** Targets that can run strategy int16-8. */
export const targetsWithInt16 = (): string[] =>
  PROFILES.filter((profile) => profile.int16Activations).map((profile) => profile.name);

/**
 * The profile of a target.
 * @throws UserError TARGET_UNKNOWN
 */
export function targetProfile(name: string): TargetProfile {
  const profile = PROFILES.find((candidate) => candidate.name === name);
  if (profile) return profile;
  const near = nearMatches(name, TARGETS);
  throw new UserError('TARGET_UNKNOWN', `dopt knows no target "${name}".`, {
    exitCode: EXIT.usage,
    expected: TARGETS.join(', '),
    suggestions: near.length > 0 ? [`Did you mean ${near[0]}?`] : [],
  });
}
