import { summarize } from '../quantize/summary.js';
import { figure } from './profile.js';
import type { Retrained } from './retrained.js';
import type { SearchResult } from './search.js';

/** A finished search in words. */
export function searchLines({ tried, failed, networks }: SearchResult): string[] {
  return [
    `${tried} networks tried${failed > 0 ? `, ${failed} without a score` : ''}; none of them beats these:`,
    ...networks.map(
      ({ number, score, loss, costs, layers, file }) =>
        `  ${number}  score ${figure(score)}${loss === undefined ? '' : `, loss ${figure(loss)}`}, costs ${costs.map(figure).join(', ')}  ` +
        `${layers.map(({ block, out }) => `${block} ${out}`).join(', ')}  ${file}`,
    ),
  ];
}

/** A network that was trained, in words. */
export function retrainedLines({
  number,
  epochs,
  score,
  searchScore,
  model,
  weights,
  quantized,
}: Retrained): string[] {
  return [
    `Network ${number} scores ${figure(score)} after ${epochs} epochs; the search had said ${figure(searchScore)}.`,
    `  ${model}`,
    `  ${weights}`,
    ...(quantized ? [summarize(quantized.result, quantized.run)] : []),
  ];
}
