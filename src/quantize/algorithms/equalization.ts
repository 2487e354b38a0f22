/**
 * Cross-layer equalization (Nagel et al., arXiv 1906.04721, section 4.1; Meller et al., arXiv 1902.01917): channels are
 * scaled against each other where a layer makes them, and back where the next one reads them. The scales are those of
 * least expected rounding noise at the outputs of the layers, not those that make ranges equal: those would spend noise
 * on channels that nothing weighs. The equal-range scales √(r₁/r₂), and SmoothQuant's |X|^α / |W|^(1−α) (Xiao et al.,
 * arXiv 2211.10438, equation 4), are among the points that the minimum is taken over.
 *
 * With s the scale of a channel, a rounded tensor of step Δ = max_i(w_i/s_i)/levels adds Δ²/12·Σ s_i²·ω_i, and the weights
 * of an output Δ²/12·Σ E[x_i²]/s_i² with Δ = max_i(|W_oi|·s_i)/limit. In t = ln s every term is the product of a maximum of
 * exponentials and a sum of exponentials, so the whole is convex: the problem is a geometric program.
 */

/** A tensor that is rounded to one grid. */
export interface RoundedTensor {
  /** The set of each channel; 0 is not scaled. */
  sets: Int32Array;
  /** Width of each channel's range, zero included. */
  widths: Float64Array;
  /** Noise at the outputs of the network's layers, relative to their signal, for each unit of noise in a channel. */
  importance: Float64Array;
  /** Steps of the grid: 255 at 8 bits. */
  levels: number;
}

/** A layer whose weights are rounded. */
export interface RoundedWeights {
  inputs: Int32Array;
  outputs: Int32Array;
  /** E[x²] of each input channel. */
  power: Float64Array;
  /** Importance of each output channel. */
  importance: Float64Array;
  /** Largest |W| by [output, input of its group], row-major. */
  largest: Float32Array;
  groups: number;
  /** Weights between an input and an output channel. */
  taps: number;
  /** One grid for all outputs. */
  common: boolean;
  /** Largest integer: 127 at 8 bits. */
  limit: number;
}

export interface EqualizationProblem {
  /** Number of sets of channels, set 0 included. */
  sets: number;
  tensors: readonly RoundedTensor[];
  layers: readonly RoundedWeights[];
  /** Smallest scale of each set: what keeps values below an upper bound behind it. */
  least: Float64Array;
}

/**
 * Exponents of the norms that stand for maxima, so that every channel near the largest one counts: the higher, the nearer
 * to the maximum, and the rougher the way there. A power of each single weight must stay a number.
 */
const TENSOR_NORM = 48;
const NORM = 12;

const STEPS = 120;
const FIRST_STEP = 0.25;

/** Scales of no set leave this interval: what calibration took for dead may not be. */
const FARTHEST = Math.log(4096);

/**
 * The scale of each set of channels, 1 for set 0. Channels are to be divided by it.
 *
 * Steepest descent with steps for each coordinate (Adam: Kingma and Ba, arXiv 1412.6980) on ln s, from s = 1, its step
 * length falling to zero; the same problem gives the same scales.
 */
export function equalizingScales({ sets, tensors, layers, least }: EqualizationProblem): Float64Array {
  const t = new Float64Array(sets);
  const gradient = new Float64Array(sets);
  const mean = new Float64Array(sets);
  const square = new Float64Array(sets);
  const terms = [...tensors.map(tensorTerm), ...layers.map(weightTerm)];
  for (let step = 1; step <= STEPS; step++) {
    gradient.fill(0);
    // Of ln of the sum: its slopes stay alike while the sum falls by orders of magnitude.
    const noise = terms.reduce((sum, term) => sum + term(t, gradient), 0);
    if (!(noise > 0)) break;
    const length = FIRST_STEP * (1 - (step - 1) / STEPS);
    for (let v = 1; v < sets; v++) {
      mean[v] = 0.9 * mean[v]! + (0.1 * gradient[v]!) / noise;
      square[v] = 0.99 * square[v]! + 0.01 * (gradient[v]! / noise) ** 2;
      const slope = mean[v]! / (1 - 0.9 ** step);
      const spread = Math.sqrt(square[v]! / (1 - 0.99 ** step));
      if (spread > 0) t[v] = t[v]! - (length * slope) / spread;
      t[v] = Math.min(FARTHEST, Math.max(t[v]!, -FARTHEST, Math.log(least[v]!)));
    }
  }
  return t.map((value, v) => (v === 0 ? 1 : Math.exp(value)));
}

/** One term of the noise; adds its derivative by each t to `gradient`. */
type Term = (t: Float64Array, gradient: Float64Array) => number;

/** Step of a common grid, times what each channel's noise counts once it is scaled back. */
function tensorTerm({ sets, widths, importance, levels }: RoundedTensor): Term {
  const logarithms = widths.map((width) => Math.log(Math.max(width, Number.MIN_VALUE)));
  return (t, gradient) => {
    const left = Float64Array.from(sets, (v, i) => logarithms[i]! - t[v]!);
    const widest = left.reduce((a, b) => Math.max(a, b));
    const shares = left.map((l) => Math.exp(TENSOR_NORM * (l - widest)));
    const noises = Float64Array.from(sets, (v, i) => importance[i]! * Math.exp(2 * t[v]!));
    const reach = shares.reduce((a, b) => a + b, 0);
    const noise = noises.reduce((a, b) => a + b, 0);
    const total = ((Math.exp(widest) * reach ** (1 / TENSOR_NORM)) / levels) ** 2 * (noise / 12);
    if (!(total > 0)) return 0;
    sets.forEach((v, i) => {
      gradient[v]! += 2 * total * (noises[i]! / noise - shares[i]! / reach);
    });
    return total;
  };
}

/** Steps of the weights, times the power of the inputs that they meet. */
function weightTerm(layer: RoundedWeights): Term {
  const { inputs, outputs, power, importance, largest, groups, taps, common, limit } = layer;
  const columns = inputs.length / groups;
  const groupOf = outputs.map((_, o) => Math.floor((o * groups) / outputs.length));
  const top = largest.reduce((a, b) => Math.max(a, b), Number.MIN_VALUE);
  const relative = Float32Array.from(largest, (a) => (a / top) ** NORM);
  const factor = (taps * top ** 2) / limit ** 2 / 12;
  return (t, gradient) => {
    const grown = Float64Array.from(inputs, (v) => Math.exp(NORM * t[v]!));
    const met = Float64Array.from(inputs, (v, i) => power[i]! * Math.exp(-2 * t[v]!));
    const energy = new Float64Array(groups);
    met.forEach((p, i) => {
      energy[Math.floor(i / columns)]! += p;
    });
    const row = Float64Array.from(outputs, (_, o) => {
      let reach = 0;
      for (let j = 0, at = o * columns, i = groupOf[o]! * columns; j < columns; j++)
        reach += relative[at++]! * grown[i++]!;
      return reach;
    });
    // An output that is divided has a finer step of its own; where one step serves all, only the largest output counts.
    const shrunk = Float64Array.from(outputs, (v) => (common ? Math.exp(-NORM * t[v]!) : 1));
    const reach = row.reduce((sum, r, o) => sum + r * shrunk[o]!, 0);
    const noise = Float64Array.from(outputs, (v, o) => {
      const step = common ? reach ** (2 / NORM) * Math.exp(2 * t[v]!) : row[o]! ** (2 / NORM);
      return factor * importance[o]! * energy[groupOf[o]!]! * step;
    });
    const total = noise.reduce((a, b) => a + b, 0);
    if (!(total > 0)) return 0;
    const spent = new Float64Array(groups);
    const drive = new Float64Array(inputs.length);
    outputs.forEach((v, o) => {
      spent[groupOf[o]!]! += noise[o]!;
      const pull = common ? (total * shrunk[o]!) / reach : row[o]! > 0 ? noise[o]! / row[o]! : 0;
      if (common) gradient[v]! += 2 * (noise[o]! - pull * row[o]!);
      for (let j = 0, at = o * columns, i = groupOf[o]! * columns; j < columns; j++, i++) {
        drive[i]! += pull * relative[at++]! * grown[i]!;
      }
    });
    inputs.forEach((v, i) => {
      const group = Math.floor(i / columns);
      const share = energy[group]! > 0 ? met[i]! / energy[group]! : 0;
      gradient[v]! += 2 * (drive[i]! - spent[group]! * share);
    });
    return total;
  };
}
