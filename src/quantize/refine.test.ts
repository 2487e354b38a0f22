import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../test/helpers/graph-builder.js';
import type { Result } from '../bridge/protocol.js';
import type { Layer } from './layers.js';
import { inputsTooNarrow } from './refine.js';
import type { ActivationSolution } from './solution.js';

/** x → reshape r → conv a → conv b; what the walk found at both, 20 dB. */
function narrow(bits: 8 | 16): string[] {
  const b = new GraphBuilder();
  const r = b.node('Reshape', [b.input('x')], {}, { name: 'r' });
  const a = b.conv(r, { name: 'a' });
  const graph = b.build([b.conv(a, { name: 'b' })]);
  const activations = new Map([r, a].map((tensor) => [tensor, { root: tensor, format: { bits } }]));
  const layers = [r, a].map((input) => ({ input })) as Layer[];
  const walked = ['a', 'b'].map((name) => ({ name, power: 1, errorAfter: 0.01 }));
  return inputsTooNarrow(
    graph,
    layers,
    { activations } as unknown as ActivationSolution,
    { layers: walked } as unknown as Result<'refine'>,
  ).map(({ input }) => input);
}

describe('inputs that 8 bits are too few for', () => {
  it('are found behind operators that hand values on, not behind layers', () => {
    expect(narrow(8)).toEqual(['r:0']);
  });

  it('are none where they have 16 bits', () => {
    expect(narrow(16)).toEqual([]);
  });
});
