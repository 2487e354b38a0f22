import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../test/helpers/graph-builder.js';
import { plan } from '../../test/helpers/plan.js';
import { loadNative } from '../native/index.js';
import { qdqRewrite } from '../quantize/apply.js';
import type { Layer } from '../quantize/layers.js';
import type { SolvedActivation } from '../quantize/solution.js';
import { solveLayers } from '../quantize/solve.js';
import { withFloatWeights, withoutQuantizers } from './instrument.js';

const core = loadNative();

/** x → conv with a bias → conv without, as apply would write it; the second input carries 16 bits. */
function applied() {
  const b = new GraphBuilder();
  const graph = b.build([b.conv(b.conv(b.input('x'), { name: 'a', bias: true }), { name: 'b' })]);
  const plans = plan(graph, { precision: { int16: ['a:0'], float: [] } });
  const layer = (name: string, input: string, biased: boolean): Layer => ({
    name,
    input,
    weight: Float32Array.from({ length: 4 * 4 * 9 }, (_, i) => Math.sin(i)),
    weightIndex: 1,
    shape: [4, 4, 3, 3],
    plan: plans.weights.find(({ node }) => node === name)!,
    bias: biased ? { values: Float32Array.of(0.1, 0.2, 0.3, 0.4), node: name, index: 2 } : null,
    attributes: null,
    batchNorm: null,
    output: `${name}:0`,
    outputAxis: 1,
    exactSums: false,
  });
  const layers = [layer('a', 'x', true), layer('b', 'a:0', false)];
  const activations = new Map(
    plans.activations.map(({ tensor, format }) => [
      tensor,
      {
        tensor,
        format,
        ...core.quantParams(-1, 3, format),
        root: tensor,
        channels: null,
      } as SolvedActivation,
    ]),
  );
  const solved = solveLayers(core, layers, {
    activations,
    shifts: new Map(),
    weights: new Map(),
    narrow: [],
  });
  return { layers, edits: qdqRewrite(graph.file, plans, layers, solved, activations, 'int32') };
}

const nodes = ({ rewrite }: ReturnType<typeof applied>['edits']): string[] =>
  rewrite.addNodes.map(({ name, domain }) => (domain ? `${domain} ${name}` : name)).sort();

describe('a quantized model with quantizers off', () => {
  it('has an Identity in the place of each, and keeps the others', () => {
    const { edits } = applied();
    const off = withoutQuantizers(edits, (tensor) => tensor === 'a:0');
    expect(nodes(edits)).toContain('com.microsoft a:0/QuantizeLinear');
    expect(nodes(off)).toEqual([
      ...[
        'a/bias/DequantizeLinear',
        'a/weight/DequantizeLinear',
        'a:0/Identity',
        'b/weight/DequantizeLinear',
      ],
      ...['x/DequantizeLinear', 'x/QuantizeLinear'],
    ]);
    expect(off.rewrite.addNodes.find(({ op }) => op === 'Identity')).toMatchObject({
      inputs: ['a:0'],
      outputs: ['a:0/dequantized'],
    });
    expect(off.parameters.has('a:0/scale')).toBe(false);
    expect(off.rewrite.initializers).toEqual([...off.parameters.keys()]);
    expect(withoutQuantizers(edits, () => false).rewrite).toEqual(edits.rewrite);
  });

  it('has float weights and biases under the names that layers read', () => {
    const { edits, layers } = applied();
    const float = withFloatWeights(
      withoutQuantizers(edits, () => true),
      layers,
    );
    expect(nodes(float)).toEqual(['a:0/Identity', 'x/Identity']);
    expect(float.parameters.get('a/weight/dequantized')!.data).toEqual(layers[0]!.weight);
    expect(float.parameters.get('a/bias/dequantized')!.data).toEqual(layers[0]!.bias!.values);
    expect([...float.parameters.keys()].sort()).toEqual([
      'a/bias/dequantized',
      'a/weight/dequantized',
      'b/weight/dequantized',
    ]);
    expect(float.rewrite.inputs).toEqual(edits.rewrite.inputs);
  });
});
