import { loadTarget, targetNames } from './target-files.js';

export { DEFAULT_TARGET } from './names.js';

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
  /** A layer adds another tensor before it stores its result, which then exists nowhere. */
  fusesSums: boolean;
}

/** A target whose weights all have one scale a tensor, whatever it could do. */
export const withTensorWeights = (profile: TargetProfile): TargetProfile => ({
  ...profile,
  perChannelConv: false,
  perChannelLinear: false,
});

/** Targets that come with dopt and can run strategy int16-8. */
export const targetsWithInt16 = (): string[] =>
  targetNames().filter((name) => targetProfile(name).int16Activations);

/**
 * What a target computes in integers.
 * @param nameOrPath a target that comes with dopt, or a YAML file
 * @throws UserError TARGET_UNKNOWN, TARGET_INVALID
 */
export function targetProfile(nameOrPath: string): TargetProfile {
  const { name, description, quantization, operators } = loadTarget(nameOrPath);
  return {
    name,
    description,
    integerKinds: new Set(quantization.integerKinds.value),
    storage: quantization.storage.value,
    perChannelConv: quantization.perChannelConv.value,
    perChannelLinear: quantization.perChannelLinear.value,
    int16Activations: quantization.int16Activations.value,
    fusesSums: operators.fusesSums.value,
  };
}
