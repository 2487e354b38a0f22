import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../../test/helpers/graph-builder.js';
import { errorOf, floatOps, plan, rules } from '../../../test/helpers/plan.js';

describe('operators that dopt does not know', () => {
  function withUnknown() {
    const b = new GraphBuilder();
    const odd = b.node('Odd', [b.conv(b.input('x'))], {}, { domain: 'com.example', name: 'odd' });
    return { graph: b.build([b.conv(b.node('Wonder', [odd], {}, { name: 'wonder' }))]), odd };
  }

  it('stay float and are listed; what follows them is quantized', () => {
    const { graph } = withUnknown();
    expect(floatOps(graph)).toEqual(['unsupported:Odd', 'unsupported:Wonder']);
    expect(rules(graph)).toEqual({ x: 'observed', 'wonder:0': 'observed' });
  });

  it('are errors with --strict, all of them named', () => {
    const error = errorOf(() => plan(withUnknown().graph, { strict: true }));
    expect(error.code).toBe('OPERATOR_UNKNOWN');
    expect(error.message).toContain('com.example.Odd, Wonder');
    expect(error.found).toContain('odd (com.example.Odd)');
  });

  it('are none when they are excluded', () => {
    const { graph } = withUnknown();
    expect(() => plan(graph, { strict: true, exclude: ['op:com.example.Odd', 'wonder'] })).not.toThrow();
  });
});
