import type { Score, TaskResult } from '../config/verification.js';
import { withinNoise } from '../verify/score.js';
import { figure, plural, plusMinus, signed } from './format.js';
import { type Html, html } from './html.js';

const AGAINST: Record<TaskResult['against'], string> = {
  labels: 'against labels',
  'float model': "against the float model's confident decisions",
  nothing: 'without labels',
};

/** Scores of the float and the quantized model side by side, each with its standard error. */
export function scoreTable({ scores, against, samples }: TaskResult, title = 'Task metric'): Html {
  return html`<div class="scroll" tabindex="0" role="region" aria-label="${title}"><table>
<caption>${title} ${AGAINST[against]}, ${plural(samples, 'sample')}; ± is the standard error over the choice of samples</caption>
<thead><tr><th scope="col">Metric</th><th scope="col" class="n">Float</th><th scope="col" class="n">Quantized</th><th scope="col" class="n">Difference</th><th scope="col" class="n">95 % interval</th></tr></thead>
<tbody>${scores.map(scoreRow)}</tbody></table></div>${scores.some(withinNoise) && html`<p>A difference marked ≈ is within what the choice of samples explains.</p>`}`;
}

function scoreRow(score: Score): Html {
  const { name, float, quantized, unit, better, interval, standardErrors: errors } = score;
  const note = better === 'lower' ? ' (lower is better)' : '';
  return html`<tr><th scope="row">${name}${note}</th><td class="n">${float === null ? '–' : figure(float, unit, errors?.float)}</td><td class="n">${figure(quantized, unit, errors?.quantized)}</td><td class="n">${
    float === null
      ? '–'
      : `${withinNoise(score) ? '≈ ' : ''}${signed(quantized - float, unit)}${plusMinus(errors?.difference, unit)}`
  }</td><td class="n">${interval ? `${signed(interval[0], unit)} to ${signed(interval[1], unit)}` : '–'}</td></tr>`;
}
