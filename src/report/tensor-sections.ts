import { byBlame, suspects } from './advice.js';
import { bar, histogramChart, noiseCurve } from './charts.js';
import { decibels, percent, plural, shortened, significant } from './format.js';
import { type Html, html } from './html.js';
import type { ReportInput } from './types.js';

/** Tensors that get a bar and a chart; the table holds all. */
export const CHARTED = 40;

/** Worst tensors with the reason and the flag to try; an analysis has measured what is guessed here. */
export function suspectSection({ result, tensors, analysis }: ReportInput): Html | null {
  if (analysis || !tensors.some(({ measured }) => measured)) return null;
  const list = suspects(tensors, result.settings);
  const body =
    list.length === 0
      ? html`<p>No tensor stands out: each adds less than 0.01 % of noise of its own.</p>`
      : html`<ol class="suspects">${list.map(
          ({ tensor, reason, flag }) => html`<li><p class="name">${tensor.name}</p>
<p>adds ${percent(tensor.measured!.blame)} noise of its own: ${reason}.</p><p>Try <code>${flag}</code></p></li>`,
        )}</ol>`;
  return html`<section id="suspects"><h2>Top suspects</h2>${body}</section>`;
}

/** Bars of own noise, and the curve along the network. */
export function noiseSection({ result, tensors }: ReportInput): Html | null {
  const measured = byBlame(tensors);
  if (measured.length === 0) return null;
  const noisy = measured.filter((tensor) => tensor.measured!.blame > 0);
  const worst = noisy.slice(0, CHARTED);
  const most = worst[0]?.measured?.blame ?? 1;
  const samples = result.verification?.tensorSamples ?? 0;
  return html`<section id="noise"><h2>Where the noise arises</h2>
<p>Noise of its own: a tensor's noise over signal, less the largest among the tensors that lead to it. Measured on ${plural(
    samples,
    'sample',
  )}: ${noisy.length} of ${plural(measured.length, 'tensor')} add noise; the worst ${worst.length} are shown.</p>
${noiseCurve(tensors)}
<p class="bars-head" aria-hidden="true"><span>Tensor</span><span></span><span class="n">own noise</span><span class="n">SQNR</span></p>
<ol class="bars">${worst.map(
    ({ name, measured }) =>
      html`<li><span class="name" title="${name}">${shortened(name, 44)}</span>${bar(
        measured!.blame / most,
      )}<span class="n">${percent(measured!.blame)}</span><span class="n sqnr">${decibels(measured!.sqnr)}</span></li>`,
  )}</ol></section>`;
}

/** Histograms with clips of the worst tensors; of the first ones where nothing was measured. */
export function distributionSection({ tensors }: ReportInput): Html | null {
  const ranked = [...byBlame(tensors), ...tensors.filter(({ measured }) => !measured)];
  const shown = ranked.filter(({ seen }) => seen).slice(0, CHARTED);
  if (shown.length === 0) return null;
  return html`<section id="ranges"><h2>Ranges</h2>
<p>What calibration saw, worst tensors first. Heights are logarithmic, exact zeros are left out; dashed lines are the clip, shaded is what lies outside.</p>
<div class="gallery">${shown.map(
    (
      tensor,
    ) => html`<figure><figcaption class="name" title="${tensor.name}">${shortened(tensor.name, 56)}</figcaption>${histogramChart(tensor)}
<p class="ends"><span>${significant(tensor.seen!.low)}</span><span>${significant(tensor.seen!.high)}</span></p>
<p class="note">clip ${significant(tensor.clip[0])} to ${significant(tensor.clip[1])}, ${tensor.rule}${tensor.scale.channels > 1 && ' (widest channel)'}${tensor.seen!.saturated !== null && ` · ${percent(tensor.seen!.saturated)} saturated`}${
      tensor.seen!.zeros >= 0.005 && html` · ${percent(tensor.seen!.zeros, 0)} zeros`
    }</p></figure>`,
  )}</div></section>`;
}
