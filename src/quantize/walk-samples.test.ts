import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../test/helpers/graph-builder.js';
import { liveElements, walkIndices, walkSamples } from './walk-samples.js';

/** x (of `elements`) -> relu -> relu, joined with the first by a sum: three tensors of the size live at the sum. */
function residual(elements: number) {
  const b = new GraphBuilder();
  const shape = [1, 1, 1, elements];
  const x = b.input('x', shape);
  const first = b.node('Relu', [x], {}, { shape });
  const second = b.node('Relu', [first], {}, { shape });
  return b.build([b.node('Relu', [b.node('Add', [first, second], {}, { shape })])]);
}

describe('samples of a walk', () => {
  it('live elements are those computed and still to be read', () => {
    expect(liveElements(residual(100))).toBe(300);
    const b = new GraphBuilder();
    const shape = [1, 1, 1, 10];
    let tensor = b.input('x', shape);
    for (let i = 0; i < 5; i++) tensor = b.node('Relu', [tensor], {}, { shape });
    expect(liveElements(b.build([b.node('Relu', [tensor])]))).toBe(20);
  });

  it('are 64 for small activations, fewer for large ones, never less than 8', () => {
    expect(walkSamples(residual(1000))).toBe(64);
    // 2³⁰ bytes, of which a sample takes 3 copies of 3 tensors of 4 bytes an element.
    expect(walkSamples(residual(1_000_000))).toBe(Math.floor(2 ** 30 / 36e6));
    expect(walkSamples(residual(100_000_000))).toBe(8);
    expect(walkSamples(residual(1000), true)).toBe(256);
    expect(walkSamples(residual(1_000_000), true)).toBe(Math.floor(2 ** 31 / 36e6));
  });

  it('are spread over all that calibrate', () => {
    const indices = Array.from({ length: 200 }, (_, i) => 2 * i);
    const chosen = walkIndices(residual(1_000_000), indices);
    expect(chosen).toHaveLength(29);
    expect(new Set(chosen).size).toBe(29);
    expect(chosen[0]).toBe(0);
    expect(chosen.at(-1)).toBeGreaterThan(380);
    expect(walkIndices(residual(10), [4, 5, 6])).toEqual([4, 5, 6]);
  });
});
