import { expect, it } from 'vitest';
import { renderSearch, type SearchView } from './page.js';

const network = (score: number, cost: number, number: number | null, block = 'conv') => ({
  score,
  cost,
  number,
  milliseconds: number === null ? null : [0.25, 0],
  layers: [
    { block, out: 16, kernel: 3 },
    { block: 'skip', out: 16, kernel: 0 },
  ],
});
const view: SearchView = {
  version: '1.0',
  scenario: 'a <b>',
  cost: 'size in parameters',
  by: 'score',
  tried: [network(0.5, 10, 0), network(0.7, 30, 1, 'fused'), network(0.4, 20, null)],
  failed: 1,
  device: 'kirin9000, fp16',
  volumes: [
    { tried: 1, volume: 0.2 },
    { tried: 4, volume: 0.6 },
  ],
};

it('shows every network once, the best ones coloured and named', () => {
  const page = renderSearch(view);
  expect(page.match(/<circle/g)).toHaveLength(3);
  expect(page.match(/<circle class="best"/g)).toHaveLength(2);
  expect(page).toContain('<title>1: score 0.7, size in parameters 30: fused 3×3 16, skip</title>');
  expect(page).toContain('4 networks tried, 1 without a score');
  expect(page).toContain('model_arch_result_1.py');
  expect(page).toContain(
    '<th scope="row">0</th><td class="n" style="background: color-mix(in srgb, currentColor 25%, transparent)">0.25</td>',
  );
  expect(page).toContain('a &lt;b&gt;');
  expect(page).not.toContain('NaN');
});

it('has no section without something to show', () => {
  const page = renderSearch({ ...view, tried: [], volumes: [] });
  expect(page).not.toContain('<section id="front">');
  expect(renderSearch({ ...view, tried: [network(0.5, 10, 0)] })).not.toContain('NaN');
});
