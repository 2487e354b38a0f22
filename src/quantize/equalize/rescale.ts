import type { Graph } from '../../graph/graph.js';
import type { Tensor } from '../../graph/safetensors.js';
import type { Constants, Layer } from '../layers.js';
import { layerOffset, type Scalable } from './scalable.js';
import { eachWeight } from './weights.js';

type Changed = Map<string, Tensor<Float32Array>>;

/**
 * The constants of a network whose channels are divided by scales: weights times the scale of their input, over that of
 * their output; gains and offsets over the latter. Shared constants, which take the same scales, change once.
 *
 * @param scales of each set of channels
 * @param offsets what is added to constants before
 */
export function rescaled(
  graph: Graph,
  layers: readonly Layer[],
  { sets, channels, norms }: Scalable,
  scales: Float64Array,
  offsets: ReadonlyMap<string, Float64Array>,
  constants: Constants,
): Changed {
  const changed: Changed = new Map();
  const scalesOf = (tensor: string): Float64Array | null => {
    const found = channels.get(tensor);
    if (!found) return null;
    const values = Float64Array.from(sets.setsOf(found.numbers), (set) => scales[set]!);
    return values.some((scale) => scale !== 1) ? values : null;
  };
  const divide = (name: string, by: Float64Array | null): void => {
    const added = offsets.get(name);
    if (changed.has(name) || !(by || added)) return;
    const { data, shape } = constants.float32(name);
    changed.set(name, { data: data.map((value, c) => (value + (added?.[c] ?? 0)) / (by?.[c] ?? 1)), shape });
  };
  for (const layer of layers) {
    const { plan, batchNorm } = layer;
    const read = scalesOf(layer.input);
    const made = scalesOf(layer.output);
    const over = batchNorm ? null : made;
    if ((read || over) && !changed.has(plan.tensor)) {
      const { data, shape } = constants.float32(plan.tensor);
      const weight = new Float32Array(data.length);
      eachWeight(graph, layer, (index, output, input) => {
        weight[index] = (data[index]! * (read?.[input] ?? 1)) / (over?.[output] ?? 1);
      });
      changed.set(plan.tensor, { data: weight, shape });
    }
    if (batchNorm) divide(batchNorm.inputs[1]!, made);
    const offset = layerOffset(graph, layer);
    if (offset) divide(offset, made);
  }
  for (const { gain, offset, output } of norms) {
    const made = scalesOf(output);
    divide(gain, made);
    divide(offset, made);
  }
  return changed;
}

/** Constants with others in the place of some of them. */
export const overlaid = (constants: Constants, changed: Changed): Constants => ({
  float32: (name) => changed.get(name) ?? constants.float32(name),
});
