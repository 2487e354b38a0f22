import { toNumber } from '../config/common.js';
import type { PrecisionSearch, PrecisionTry } from '../config/precision.js';
import { decibels, plural, significant } from './format.js';
import { type Html, html } from './html.js';
import type { ReportInput } from './types.js';

const PLOT = { width: 1000, height: 200 };

/** The search for tensors that must be wider: what was chosen, every try, and error against cost. */
export function precisionSection({ result }: ReportInput): Html | null {
  const search = result.precision;
  if (!search) return null;
  const { goal, reached, tries, chosen, samples, metric } = search;
  const best = tries[chosen]!;
  const wanted =
    goal.kind === 'sqnr'
      ? `at least ${goal.value} dB`
      : `at most ${goal.value} lost in ${metric ?? 'the metric'}`;
  return html`<section id="precision"><h2>Precision search</h2>
<p>Goal: ${wanted}, ${reached ? 'reached' : 'not reached'} on ${plural(samples, 'sample')} that neither calibrated nor score, after ${plural(tries.length, 'try').replace('trys', 'tries')}.</p>
<p>${widerText(best)}</p>
${paretoPlot(search)}
<details><summary>All tries</summary><div class="scroll tall" tabindex="0" role="region" aria-label="Table of all tries"><table>
<thead><tr><th scope="col" class="n">#</th><th scope="col" class="n">SQNR</th><th scope="col" class="n">Lost</th><th scope="col" class="n">Cost</th><th scope="col">Wider tensors</th></tr></thead>
<tbody>${tries.map(
    (one, index) =>
      html`<tr><td class="n">${index + 1}</td><td class="n">${decibels(toNumber(one.sqnr))}</td><td class="n">${one.drop === null ? '–' : one.drop.toFixed(2)}</td><td class="n">${costText(search, one)}</td><th scope="row" class="name">${widerText(one)}</th></tr>
`,
  )}</tbody></table></div></details></section>`;
}

function widerText({ int16, float }: PrecisionTry): string {
  const parts = [
    int16.length > 0 ? `int16: ${int16.join(', ')}` : '',
    float.length > 0 ? `float: ${float.join(', ')}` : '',
  ].filter((part) => part !== '');
  return parts.length > 0 ? parts.join('; ') : 'Nothing is wider than 8 bits.';
}

const costText = ({ costUnit }: PrecisionSearch, { cost }: PrecisionTry): string =>
  costUnit === 'seconds' ? `${significant(1000 * cost)} ms` : significant(cost);

/** Error of each try against its cost; the line joins those that no other beats in both. */
function paretoPlot(search: PrecisionSearch): Html | null {
  const { goal, tries, chosen } = search;
  const error = ({ sqnr, drop }: PrecisionTry): number =>
    goal.kind === 'sqnr' ? -toNumber(sqnr) : (drop ?? 0);
  const points = tries.map((one, index) => ({ index, cost: one.cost, error: error(one) }));
  const shown = points.filter((point) => Number.isFinite(point.error));
  if (shown.length < 2) return null;
  const [low, high] = [
    Math.min(...shown.map(({ cost }) => cost)),
    Math.max(...shown.map(({ cost }) => cost)),
  ];
  const [least, most] = [Math.min(...shown.map((p) => p.error)), Math.max(...shown.map((p) => p.error))];
  const x = (cost: number): string =>
    (20 + ((cost - low) / (high - low || 1)) * (PLOT.width - 40)).toFixed(1);
  const y = (value: number): string =>
    (10 + ((most - value) / (most - least || 1)) * (PLOT.height - 20)).toFixed(1);
  const front = [...shown]
    .sort((a, b) => a.cost - b.cost || a.error - b.error)
    .filter((point, i, list) => list.slice(0, i).every((other) => other.error > point.error));
  const what = goal.kind === 'sqnr' ? 'SQNR' : 'loss';
  const text = `Cost and ${what} of ${shown.length} tries, from ${costText(search, tries[front[0]!.index]!)} to ${costText(search, tries[front.at(-1)!.index]!)} along the front.`;
  return html`<figure class="curve pareto"><svg viewBox="0 0 ${PLOT.width} ${PLOT.height}" role="img" aria-label="${text}"><polyline points="${front
    .map((point) => `${x(point.cost)},${y(point.error)}`)
    .join(' ')}"/>${shown.map(
    (point) =>
      html`<circle class="${point.index === chosen ? 'chosen' : 'try'}" cx="${x(point.cost)}" cy="${y(point.error)}" r="${point.index === chosen ? 9 : 6}"><title>${widerText(tries[point.index]!)}</title></circle>`,
  )}</svg>
<figcaption>Each circle is a model that was tried: to the right what costs more on the target, upward what errs more. The line joins those that no other beats in both; the filled one was written.</figcaption></figure>`;
}
