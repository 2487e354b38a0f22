import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../../test/helpers/graph-builder.js';
import { errorOf, plan, rules } from '../../../test/helpers/plan.js';
import { UserError } from '../../errors.js';

describe('exclusions', () => {
  /** Two blocks with a tensor between them that is named after the first. */
  function blocks() {
    const b = new GraphBuilder();
    const x = b.relu(b.conv(b.input('x'), { name: 'backbone/conv' }));
    const y = b.batchNorm(b.conv(x, { name: 'backbone/out' }), 'backbone/bn');
    return { graph: b.build([b.conv(y, { name: 'head/conv' })]), x, y };
  }
  const quantizedNodes = (exclude: string[]) =>
    plan(blocks().graph, { exclude }).weights.map(({ node }) => node);

  it.each([
    ['node name', 'backbone/out', ['backbone/conv', 'head/conv']],
    ['weight name', 'head/conv.weight', ['backbone/conv', 'backbone/out']],
    ['name of a fused node', 'backbone/bn', ['backbone/conv', 'head/conv']],
    ['tensor name: what reads it', 'backbone/bn:0', ['backbone/conv', 'backbone/out']],
    ['graph output: what computes it', 'head/conv:0', ['backbone/conv', 'backbone/out']],
    ['pattern: nodes before tensors', 'backbone/*', ['head/conv']],
    ['pattern of weights', '*.weight', []],
    ['type', 'op:BatchNorm*', ['backbone/conv', 'head/conv']],
  ])('by %s', (_, pattern, left) => expect(quantizedNodes([pattern])).toEqual(left));

  it('an excluded layer needs no quantizer and no fold, and says why it is float', () => {
    const { graph, x, y } = blocks();
    const result = plan(graph, { exclude: ['backbone/out'] });
    expect(result.activations.map(({ tensor }) => tensor)).toEqual(['x', y]);
    expect(result.folds).toEqual([]);
    expect(result.floatNodes).toEqual([
      { node: 'backbone/out', op: 'Conv', cause: 'excluded', reason: 'named by --exclude' },
      { node: 'backbone/bn', op: 'BatchNormalization', cause: 'excluded', reason: 'named by --exclude' },
    ]);
    expect(Object.keys(rules(graph))).toContain(x);
  });

  it('every pattern that matches nothing is named, with names that come near', () => {
    const error = errorOf(() => quantizedNodes(['backbone/cnov', 'op:Cnov', 'head/conv']));
    expect(error.code).toBe('EXCLUDE_UNKNOWN');
    expect(error.found).toBe('backbone/cnov, op:Cnov');
    expect(error.suggestions.join('\n')).toMatch(/"backbone\/cnov", did you mean "backbone\/conv"/);
    expect(error.suggestions.join('\n')).toMatch(/"op:Cnov", did you mean "op:Conv"/);
  });

  it('letters of a pattern that mean something in expressions are plain letters', () => {
    expect(() => quantizedNodes(['backbone.conv'])).toThrow(UserError);
    expect(() => quantizedNodes(['(.*'])).toThrow(UserError);
  });
});
