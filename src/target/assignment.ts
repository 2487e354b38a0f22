import type { Target } from '../config/target.js';
import { floatPrecision } from './device.js';
import type { Kernel } from './kernel.js';
import type { LoweredNetwork } from './lower.js';
import { PRECISIONS, type Precision } from './precision.js';

/** Which precision layers compute in: `layers` by the name of any node of theirs, `rest` for all others. */
export interface Assignment {
  rest: Precision;
  layers?: ReadonlyMap<string, Precision>;
}

/** What each kernel computes in, and how wide each tensor lies in memory. */
export interface Formats {
  /** By index of the kernel. */
  precisions: readonly Precision[];
  /** Bits of an element by tensor. */
  bits: ReadonlyMap<string, number>;
}

/** Settles the format of every kernel and tensor of a network. */
export class FormatRules {
  private readonly integerKinds: ReadonlySet<string>;
  private readonly storesIntegers: boolean;
  private readonly float: Precision | null;

  constructor(target: Target) {
    this.integerKinds = new Set(target.quantization.integerKinds.value);
    this.storesIntegers = target.quantization.storage.value === 'integer';
    this.float = floatPrecision(target);
  }

  /** Whether a kernel computes in the precision that is asked for; the others compute in float where the device has it. */
  takesIntegers(kernel: Kernel): boolean {
    return this.integerKinds.has(kernel.kind) || (this.storesIntegers && movesValues(kernel));
  }

  /**
   * A kernel computes in the precision asked for when it has a form in it, else in float. A tensor is as wide as the
   * widest kernel that computes with it needs; what only moves values takes over the width of its result.
   */
  formats({ kernels, outputs }: LoweredNetwork, { rest, layers }: Assignment): Formats {
    const bits = new Map<string, number>();
    const precisions = new Array<Precision>(kernels.length);
    for (let index = kernels.length - 1; index >= 0; index--) {
      const kernel = kernels[index]!;
      const precision = this.precisionOf(kernel, rest, layers);
      precisions[index] = precision;
      const own = PRECISIONS[precision].activations;
      for (const tensor of kernel.writes) if (!bits.has(tensor)) bits.set(tensor, own);
      const wide = movesValues(kernel) ? bits.get(kernel.writes[0]!)! : own;
      for (const tensor of kernel.reads) bits.set(tensor, Math.max(bits.get(tensor) ?? 0, wide));
    }
    const whole = PRECISIONS[this.float ?? rest].activations;
    for (const tensor of outputs) bits.set(tensor, Math.max(bits.get(tensor) ?? 0, whole));
    return { precisions, bits };
  }

  private precisionOf(kernel: Kernel, rest: Precision, layers: Assignment['layers']): Precision {
    let asked = rest;
    if (layers)
      for (const node of kernel.nodes) {
        const given = layers.get(node);
        if (given === undefined) continue;
        asked = given;
        break;
      }
    if (this.float === null || !PRECISIONS[asked].integer || this.takesIntegers(kernel)) return asked;
    return this.float;
  }
}

const movesValues = ({ unit }: Kernel): boolean => unit === 'mover' || unit === 'free';
