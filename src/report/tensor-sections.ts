import type { RunResult } from '../config/result.js';
import { byBlame, suspects } from './advice.js';
import { bar, histogramChart, noiseCurve } from './charts.js';
import { decibels, percent, plural, significant } from './format.js';
import { type Html, html } from './html.js';
import type { ReportInput, TensorReport } from './types.js';

/** Tensors that get a bar and a chart; the table holds all. */
export const CHARTED = 40;

/** Worst tensors with the reason and the flag to try. */
export function suspectSection({ result, tensors }: ReportInput): Html | null {
  if (!tensors.some(({ measured }) => measured)) return null;
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
  const worst = byBlame(tensors).slice(0, CHARTED);
  if (worst.length === 0) return null;
  const most = worst[0]!.measured!.blame || 1;
  const samples = result.verification?.tensorSamples ?? 0;
  return html`<section id="noise"><h2>Where the noise arises</h2>
<p>Noise of its own: a tensor's noise over signal, less the largest among the tensors that lead to it. Measured on ${plural(samples, 'sample')}, ${
    tensors.length > CHARTED
      ? `the worst ${worst.length} of ${plural(tensors.length, 'tensor')}`
      : plural(worst.length, 'tensor')
  }, worst first.</p>
${noiseCurve(tensors)}
<ol class="bars">${worst.map(
    ({ name, measured, producer }) =>
      html`<li><span class="name" title="${producer ?? 'graph input'}">${name}</span>${bar(
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
    ) => html`<figure><figcaption class="name" title="${tensor.name}">${tensor.name}</figcaption>${histogramChart(tensor)}
<p class="ends"><span>${significant(tensor.seen!.low)}</span><span>${significant(tensor.seen!.high)}</span></p>
<p class="note">clip ${significant(tensor.clip[0])} to ${significant(tensor.clip[1])}, ${tensor.rule} · ${percent(tensor.seen!.saturated)} saturated${
      tensor.seen!.zeros >= 0.005 && html` · ${percent(tensor.seen!.zeros, 0)} zeros`
    }</p></figure>`,
  )}</div></section>`;
}

/** Every quantized activation. */
export function tensorTable({ tensors }: ReportInput): Html {
  const numbers = [
    'Low',
    'High',
    'Clip low',
    'Clip high',
    'Scale',
    'Zero point',
    'Saturated',
    'SQNR dB',
    'Cosine',
    'Own noise',
  ];
  return html`<section id="tensors"><h2>All quantized activations</h2>
<div class="scroll tall" tabindex="0" role="region" aria-label="Table of all quantized activations"><table class="sortable">
<caption>${plural(tensors.length, 'tensor')} in graph order</caption>
<thead><tr><th scope="col" class="n">#</th><th scope="col">Tensor</th><th scope="col">Kind</th><th scope="col">Rule</th>${numbers.map(
    (title) => html`<th scope="col" class="n">${title}</th>`,
  )}</tr></thead><tbody>${tensors.map(tensorRow)}</tbody></table></div></section>`;
}

function tensorRow(tensor: TensorReport, index: number): Html {
  const { name, kind, rule, clip, scale, zeroPoint, seen, measured } = tensor;
  return html`<tr>${number(index + 1, String)}<th scope="row" class="name">${name}</th><td>${kind}</td><td class="rule">${rule}</td>${number(
    seen?.low,
    significant,
  )}${number(seen?.high, significant)}${number(clip[0], significant)}${number(clip[1], significant)}${number(
    scale,
    significant,
  )}${number(zeroPoint, String)}${number(seen?.saturated, percent)}${number(measured?.sqnr, (value) =>
    Number.isFinite(value) ? value.toFixed(1) : '∞',
  )}${number(measured?.cosine, (value) => value.toFixed(5))}${number(measured?.blame, percent)}</tr>
`;
}

/** A cell with the exact value for sorting. */
function number(value: number | undefined, format: (value: number) => string): Html {
  if (value === undefined) return html`<td class="n">–</td>`;
  return html`<td class="n" data-v="${Number(value.toPrecision(6))}">${format(value)}</td>`;
}

/** Weights by operator. */
export function weightTable({ weights }: ReportInput): Html | null {
  if (weights.length === 0) return null;
  const dead = weights.reduce((sum, { deadChannels }) => sum + deadChannels, 0);
  return html`<section id="weights"><h2>Weights</h2>
<p>${plural(weights.length, 'weight')}; ${dead === 0 ? 'no dead channels' : `${plural(dead, 'dead channel')} (all weights below 2⁻¹⁶ of the layer's largest)`}. A wide spread of scales is why weights are quantized per channel.</p>
<details><summary>All weights</summary><div class="scroll tall" tabindex="0" role="region" aria-label="Table of all weights"><table class="sortable">
<thead><tr><th scope="col">Operator</th><th scope="col">Weight</th><th scope="col" class="n">Scales</th><th scope="col" class="n">Smallest</th><th scope="col" class="n">Largest</th><th scope="col" class="n">Dead</th></tr></thead>
<tbody>${weights.map(
    ({
      name,
      node,
      channels,
      smallestScale,
      largestScale,
      deadChannels,
    }) => html`<tr><th scope="row" class="name">${node}</th><td class="name">${name}</td>${number(
      channels,
      String,
    )}${number(smallestScale, (value) => significant(value, 3))}${number(largestScale, (value) => significant(value, 3))}${number(deadChannels, String)}</tr>
`,
  )}</tbody></table></div></details></section>`;
}

/** What stayed in float, by reason. */
export function floatSection({ result }: { result: RunResult }): Html {
  const groups = new Map<string, { cause: string; nodes: string[] }>();
  for (const { node, op, reason, cause } of result.quantization.floatNodes) {
    const key = `${op}: ${reason}`;
    const group = groups.get(key) ?? { cause, nodes: [] };
    group.nodes.push(node);
    groups.set(key, group);
  }
  const body =
    groups.size === 0
      ? html`<p>Nothing: every operator is quantized.</p>`
      : html`<ul class="float">${[...groups].map(
          ([
            title,
            { cause, nodes },
          ]) => html`<li><details><summary><span class="cause ${cause}">${cause}</span> ${title} <span class="quiet">(${plural(nodes.length, 'operator')})</span></summary>
<p class="name">${nodes.join(', ')}</p></details></li>`,
        )}</ul>`;
  return html`<section id="float"><h2>Left in float</h2>${body}</section>`;
}
