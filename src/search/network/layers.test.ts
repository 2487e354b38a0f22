import { expect, it } from 'vitest';
import { CostModel } from '../../target/cost-model.js';
import { loadTarget } from '../../target/target-files.js';
import { Draws } from '../algorithms/random.js';
import { type Genome, genomeKey, randomGenome } from '../space.js';
import { Costs, problemOf } from './costs.js';
import { deckOf } from './deck.js';
import { graphOf } from './graph.js';
import { BLOCKS, canonical, largestLayers, layersOf, type Skeleton, spaceOf } from './layers.js';

const skeleton: Skeleton = {
  channels: 24,
  filters: [32, 32, 64, 64, 96],
  strides: [1, 1, 2, 1, 2],
  features: [1],
  multiple: 16,
};
const space = spaceOf(skeleton);
const some = Array.from({ length: 200 }, (_, index) => randomGenome(space, new Draws(1, 0, index)));

it('channels are passed on, come in multiples, and stay where something outside reads them', () => {
  for (const genome of some) {
    const layers = layersOf(skeleton, genome);
    layers.forEach((layer, index) => {
      expect(layer.in).toBe(index === 0 ? 24 : layers[index - 1]!.out);
      if (layer.block !== 'skip') expect(layer.out % 16).toBe(0);
      else expect([layer.stride, layer.out]).toEqual([1, layer.in]);
      expect(layer.hidden % 16).toBe(0);
    });
    expect([layers[1]!.out, layers[4]!.out]).toEqual([32, 96]);
  }
});

it('genomes of the same network have one canonical form, and of another network another one', () => {
  const networks = new Map<string, string>();
  for (const genome of some) {
    const form = canonical(skeleton, genome);
    expect(layersOf(skeleton, form)).toEqual(layersOf(skeleton, genome));
    expect(canonical(skeleton, form)).toEqual(form);
    const layers = JSON.stringify(layersOf(skeleton, genome));
    expect(networks.get(layers) ?? genomeKey(form)).toBe(genomeKey(form));
    networks.set(layers, genomeKey(form));
  }
  expect(new Set(networks.values()).size).toBe(networks.size);
});

it('shared weights are large enough for every network', () => {
  const largest = largestLayers(skeleton);
  for (const genome of some)
    layersOf(skeleton, genome).forEach((layer, index) => {
      const most = largest[index]![layer.block]!;
      for (const key of ['in', 'out', 'kernel', 'hidden', 'squeeze'] as const)
        expect(layer[key]).toBeLessThanOrEqual(most[key]);
    });
});

it('costs of a candidate are those of its graph, and limits of several devices hold at once', () => {
  const limit = { target: 'kirin9000', precision: 'fp16', min: null, max: null } as const;
  const frame = { skeleton, height: 32, width: 32, fixed: [] };
  const costs = new Costs(frame, [
    { ...limit, cost: 'size', max: 60_000 },
    { ...limit, cost: 'latency', max: 1.2 },
    { ...limit, cost: 'latency', target: 'kirin9020', precision: 'int8', max: 1.5 },
    { ...limit, cost: 'flops', min: 1e6 },
    { ...limit, cost: 'peak_memory' },
  ]);
  const problem = problemOf(frame, costs);
  const model = new CostModel(loadTarget('kirin9000'));
  for (const genome of some.slice(0, 20)) {
    const values = costs.of(genome);
    const lowered = model.lower(graphOf(layersOf(skeleton, genome), 32, 32));
    expect(values[1]).toBeCloseTo(1000 * model.predict(lowered, { rest: 'fp16' }).seconds, 9);
    expect(values.every((value) => value > 0)).toBe(true);
    const keeps = values[0]! <= 60_000 && values[1]! <= 1.2 && values[2]! <= 1.5 && values[3]! >= 1e6;
    expect(problem.screen(genome).violation === 0).toBe(keeps);
  }
});

/** How often each kind of block stands in each layer of a deck. */
const kindsOf = (deck: readonly (readonly number[])[]): number[][] =>
  skeleton.filters.map((_, layer) =>
    BLOCKS.map((block) => deck.filter((genome) => layersOf(skeleton, genome)[layer]!.block === block).length),
  );

it('each kind of block stands equally often in the deck where no limit is in the way', () => {
  const free = {
    space,
    canonical: (genome: Genome) => canonical(skeleton, genome),
    screen: () => ({ costs: [], violation: 0 }),
  };
  kindsOf(deckOf(free, skeleton, 3)).forEach((counts, layer) => {
    // A layer that halves the map, and one whose channels something outside reads, cannot be left out.
    const open = layer === 0 || layer === 3 ? counts : counts.slice(0, -1);
    expect(Math.max(...open) - Math.min(...open)).toBeLessThanOrEqual(4);
  });
});

it('the deck keeps the limits and is even all the same', () => {
  const weights = (genome: Genome): number =>
    layersOf(skeleton, genome).reduce(
      (sum, layer) => sum + layer.in * layer.out + layer.kernel ** 2 * layer.hidden * layer.out,
      0,
    );
  const problem = {
    space,
    canonical: (genome: Genome) => canonical(skeleton, genome),
    screen: (genome: Genome) => ({ costs: [], violation: Math.max(0, weights(genome) / 300_000 - 1) }),
  };
  const deck = deckOf(problem, skeleton, 3);
  expect(deck).toHaveLength(240);
  for (const genome of deck) expect(problem.screen(genome).violation).toBe(0);
  kindsOf(deck).forEach((counts, layer) => {
    const open = layer === 0 || layer === 3 ? counts : counts.slice(0, -1);
    expect(Math.min(...open)).toBeGreaterThan(deck.length / BLOCKS.length / 2);
  });
});
