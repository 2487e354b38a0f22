import { toNumber } from '../config/common.js';
import type { EngineSettings, Tuning } from '../config/tuning.js';
import { decibels, plural } from './format.js';
import { type Html, html } from './html.js';
import type { ReportInput } from './types.js';

/** A comparison of settings of the engine: what decided, and every try. */
export function tuningSection({ result }: ReportInput): Html | null {
  const { tuning } = result;
  if (!tuning) return null;
  const { tries, chosen } = tuning;
  return html`<section id="tuning"><h2>Settings compared</h2>
<p>${plural(tries.length, 'try').replace('trys', 'tries')}, judged by ${judgedBy(tuning)} on ${plural(tuning.samples, 'sample')} that neither calibrated nor score. The model was made with: ${settingsText(tries[chosen]!.settings)}; the samples that decided calibrated it, too.</p>
<div class="scroll tall" tabindex="0" role="region" aria-label="Table of all tries"><table>
<thead><tr><th scope="col" class="n">#</th><th scope="col" class="n">SQNR</th><th scope="col" class="n">Lost</th><th scope="col" class="n">Seconds</th><th scope="col">Settings</th></tr></thead>
<tbody>${tries.map(
    (one, index) =>
      html`<tr><td class="n">${index + 1}</td><td class="n">${decibels(toNumber(one.sqnr))}</td><td class="n">${one.drop === null ? '–' : one.drop.toFixed(2)}</td><td class="n">${one.seconds.toFixed(1)}</td><th scope="row" class="name">${settingsText(one.settings)}${index === chosen ? ' (taken)' : ''}</th></tr>
`,
  )}</tbody></table></div></section>`;
}

const judgedBy = ({ by, metric }: Tuning): string =>
  by === 'metric' && metric !== null
    ? metric
    : 'signal over noise, sample by sample (the table has the worst output over all)';

/** Settings in a few words. */
export function settingsText(settings: EngineSettings): string {
  const { effort, calibration, weightsGranularity, without, with: added } = settings;
  return [
    effort,
    `calibration ${calibration}`,
    ...(weightsGranularity === 'tensor' ? ['one scale a weight'] : []),
    ...added.map((name) => `with ${name}`),
    ...without.map((name) => `without ${name}`),
  ].join(', ');
}
