import { toNumber } from '../config/common.js';
import type { PredictedCost } from '../config/cost.js';
import type { RunResult } from '../config/result.js';
import type { OutputComparison, Score, Verification } from '../config/verification.js';
import { equalizationWords } from '../quantize/equalize/words.js';
import { unitText } from '../verify/score.js';
import {
  bareFigure,
  basisText,
  bytes,
  count,
  decibels,
  figure,
  milliseconds,
  percent,
  plural,
  plusMinus,
  seconds,
  signed,
  timesSmaller,
} from './format.js';
import { type Html, html } from './html.js';
import { scoreTable } from './score-table.js';
import { verdict } from './verdict.js';

/** Headline, verdict and the figures that matter most. */
export function header({ result }: { result: RunResult }): Html {
  const { level, sentence, rule } = verdict(result);
  const label = { good: 'Good', caution: 'Check', bad: 'Poor', unknown: 'Not measured' }[level];
  return html`<header>
<p class="eyebrow">dopt ${result.dopt} · quantization report</p>
<h1>${result.model.name}</h1>
<p class="verdict ${level}"><strong class="badge">${label}</strong><span>${sentence}</span></p>
<p class="rule">${rule}</p>
</header>`;
}

/** Cards: accuracy, size, SQNR, agreement, time. */
export function cards({ result }: { result: RunResult }): Html {
  const { verification, sizes } = result;
  const list: [string, string | Html, string][] = [];
  const main = verification?.task?.scores[0];
  if (main) {
    const after = figure(main.quantized, main.unit);
    const value = main.float === null ? after : change(bareFigure(main.float, main.unit), after, '');
    list.push([`Accuracy, ${main.name}`, value, difference(main)]);
  }
  list.push([
    'Size',
    change(bytes(sizes.float), bytes(sizes.quantized), ''),
    timesSmaller(sizes.float, sizes.quantized, 2),
  ]);
  const worst = worstOutput(verification);
  if (worst) {
    const outputs = verification!.outputs.length;
    list.push([
      'Signal over noise',
      decibels(toNumber(worst.similarity.sqnr)),
      outputs > 1 ? `worst output, ${worst.name}` : 'at the output',
    ]);
  }
  const agreement = agreementCard(verification);
  if (agreement) list.push(['Agreement', ...agreement]);
  const { predicted } = result;
  if (predicted) {
    const { float, quantized, target } = predicted;
    const after = `${milliseconds(quantized.seconds)} ms`;
    const [low, high] = quantized.interval;
    list.push([
      'Predicted latency',
      float ? change(milliseconds(float.seconds), after, '') : after,
      `on ${target}; 90 % lie in ${milliseconds(low)} to ${milliseconds(high)} ms`,
    ]);
  }
  list.push([
    'Time',
    seconds(result.seconds),
    result.peakBytes === null ? 'all stages' : `${bytes(result.peakBytes)} peak memory`,
  ]);
  return html`<section class="cards" aria-label="Key figures">${list.map(
    ([title, value, detail]) =>
      html`<div class="card"><p class="title">${title}</p><p class="value">${value}</p><p class="detail">${detail}</p></div>`,
  )}</section>`;
}

/** How often both models decide alike: what the metric says of it, else the first output that decides something. */
function agreementCard(verification: Verification | null): [string, string] | null {
  const [main, ...others] = verification?.task?.scores ?? [];
  const alike = others.find(({ float }) => float === null);
  if (alike) return [figure(alike.quantized, alike.unit), 'same decision as the float model'];
  const agreement = verification?.outputs.find((output) => output.agreement)?.agreement;
  if (!agreement || main?.float === null) return null;
  const { share, count: decisions, over } = agreement;
  return [percent(share, 2), `of ${plural(decisions, over.slice(0, -1))} decided alike`];
}

function difference({ float, quantized, unit, standardErrors }: Score): string {
  if (float === null) return 'against the float model';
  if (float === quantized) return 'no difference';
  const error = plusMinus(standardErrors?.difference, unit);
  return `${signed(quantized - float, unit)}${error}${unit === '%' ? ' points' : unitText(unit)}`;
}

function change(before: string, after: string, unit: string): Html {
  return html`<span class="before">${before}</span> <span class="arrow" aria-label="to">→</span> ${after}${unit && ` ${unit}`}`;
}

function worstOutput(verification: Verification | null): Verification['outputs'][number] | undefined {
  return verification?.outputs.reduce((a, b) =>
    toNumber(b.similarity.sqnr) < toNumber(a.similarity.sqnr) ? b : a,
  );
}

/** Accuracy before and after, then each output. */
export function accuracy({ result }: { result: RunResult }): Html | null {
  const { verification } = result;
  if (!verification) return null;
  const { task, outputs } = verification;
  return html`<section id="accuracy"><h2>Accuracy</h2>
${task && scoreTable(task)}
<div class="scroll" tabindex="0" role="region" aria-label="Distance at the outputs"><table>
<caption>Distance of the quantized outputs to the float ones, ${plural(verification.samples, 'sample')}</caption>
<thead><tr><th scope="col">Output</th><th scope="col" class="n">SQNR</th><th scope="col" class="n">Cosine</th><th scope="col" class="n">Largest error</th><th scope="col" class="n">Agreement</th></tr></thead>
<tbody>${outputs.map(
    ({
      name,
      similarity,
      agreement,
      sqnrStandardError,
      differentShapes,
    }) => html`<tr><th scope="row" class="name">${name}</th>
<td class="n">${decibels(toNumber(similarity.sqnr), sqnrStandardError)}</td><td class="n">${toNumber(similarity.cosine).toFixed(5)}</td>
<td class="n">${similarity.maxAbsoluteError.toPrecision(3)}</td>
<td class="n">${agreementText(agreement)}${
      differentShapes > 0 && ` (${plural(differentShapes, 'sample')} of other shape left out)`
    }</td></tr>`,
  )}</tbody></table></div></section>`;
}

/** "98.6 % ± 0.3 of pixels". */
export function agreementText(agreement: OutputComparison['agreement']): string {
  if (!agreement) return '–';
  const { share, standardError, over } = agreement;
  return `${figure(100 * share, '%', standardError === null ? null : 100 * standardError)} of ${over}`;
}

/** What was done to which model with which data. */
export function facts({ result }: { result: RunResult }): Html {
  const { model, settings, data, quantization, verification, sizes, predicted } = result;
  const samples = ({ samples: n, path, skipped }: typeof data.calibration): string =>
    `${plural(n, 'sample')} from ${path}${skipped.length > 0 ? `, ${count(skipped.length)} unreadable left out` : ''}`;
  const rows: [string, string | Html][] = [
    [
      'Model',
      `${model.source.path}, ${plural(model.nodes, 'operator')}, opset ${model.opset.from}${model.opset.to === model.opset.from ? '' : ` → ${model.opset.to}`}`,
    ],
    [
      'Target',
      `${settings.target}, strategy ${settings.strategy}${settings.weightsGranularity === 'tensor' ? ', one scale a weight' : ''}`,
    ],
    [
      'Calibration',
      `${settings.calibration}, effort ${settings.effort}${settings.recipe ? `, recipe ${settings.recipe}` : ''}`,
    ],
    ...(settings.without.length > 0
      ? [['Switched off', settings.without.join(', ')] satisfies [string, string]]
      : []),
    ...(settings.with.length > 0
      ? [['Switched on', settings.with.join(', ')] satisfies [string, string]]
      : []),
    ['Excluded', settings.exclude.length > 0 ? settings.exclude.join(', ') : 'nothing'],
    [
      'Size',
      `${bytes(sizes.float)} → ${bytes(sizes.quantized)} (${percent(sizes.quantized / sizes.float, 0)})`,
    ],
    [
      'Quantized',
      `${plural(quantization.activations, 'activation')}${quantization.int16 > 0 ? ` (${quantization.int16} int16)` : ''}, ${plural(quantization.weights, 'weight')}; ${plural(quantization.floatNodes.length, 'operator')} left in float`,
    ],
    ...(predicted ? [['Predicted', predictedText(predicted)] satisfies [string, string]] : []),
    ...(quantization.equalization
      ? [['Equalized', equalizationWords(quantization.equalization)] satisfies [string, string]]
      : []),
    ['Calibrated with', samples(data.calibration)],
    [
      'Scored on',
      data.verification ? samples(data.verification) : 'nothing: too few samples to keep any back',
    ],
    [
      'Overlap',
      data.verification
        ? data.disjoint
          ? 'none: no scored sample was calibrated with'
          : 'the two sets share samples, so the accuracy is flattered'
        : '–',
    ],
    [
      'Evaluator',
      verification
        ? `${verification.evaluator.name} ${verification.evaluator.version}, graph optimizations ${verification.evaluator.optimization}, ${plural(verification.evaluator.threads, 'thread')}`
        : 'not run',
    ],
    [
      'Capture',
      `${parityText(model.parity.maxRelativeDifference)} (${model.parity.executor}, ${plural(model.parity.samples, 'random input')})`,
    ],
  ];
  return html`<section id="summary"><h2>Summary</h2><dl class="facts">${rows.map(
    ([term, value]) => html`<div><dt>${term}</dt><dd>${value}</dd></div>`,
  )}</dl>
${model.notes.length > 0 && html`<details><summary>What capture changed (${model.notes.length})</summary><ul>${model.notes.map((note) => html`<li>${note}</li>`)}</ul></details>`}
</section>`;
}

/** Latency and energy, float beside quantized, with what they rest on. */
function predictedText({ target, float, quantized }: PredictedCost): string {
  const { seconds: time, interval, energy, measured, precision } = quantized;
  const range = ([low, high]: readonly [number, number]): string =>
    `90 % lie in ${milliseconds(low)} to ${milliseconds(high)} ms`;
  const before = float
    ? ` against ${milliseconds(float.seconds)} ms in ${float.precision} (${range(float.interval)}), ${percent(energy / float.energy, 0)} of its energy`
    : '';
  return `${milliseconds(time)} ms for a sample in ${precision} on ${target} (${range(interval)})${before}; ${basisText(measured)}`;
}

function parityText(difference: number): string {
  if (difference === 0) return 'gives exactly the numbers of the original file';
  return `differs from the original file by at most ${difference.toExponential(1)} of the largest value`;
}

export function warnings({ result }: { result: RunResult }): Html | null {
  const all = [...new Set([...result.warnings, ...(result.verification?.warnings ?? [])])];
  if (result.data.verification && !result.data.disjoint) {
    all.unshift('Scored and calibration samples overlap: the accuracy below is flattered.');
  }
  if (all.length === 0) return null;
  return html`<section id="warnings" class="warnings"><h2>Warnings</h2><ul>${all.map((text) => html`<li>${text}</li>`)}</ul></section>`;
}
