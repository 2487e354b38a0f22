import type { Analysis, QuantizerAnalysis } from '../config/analysis.js';
import { type JsonNumber, toNumber } from '../config/common.js';
import { bar, decibelCurve, plainHistogram } from './charts.js';
import { decibels, percent, plural, shortened, significant } from './format.js';
import { type Html, html } from './html.js';
import { type Column, cells, headings } from './tables.js';
import type { ReportInput } from './types.js';

/** Quantizers that get a bar, and weights that get a histogram; the table holds all. */
const BARS = 30;
const WEIGHTS = 12;

/** What `dopt analyze` found: who is to blame, what helps, how errors add up, and how values are distributed. */
export function analysisSection({ analysis }: ReportInput): Html | null {
  if (!analysis) return null;
  const { quantizers, findings, data, outputs } = analysis;
  const byRank = [...quantizers].sort((a, b) => a.rank - b.rank);
  const ends = outputs.map(({ name, sqnr }) => `${name} ${decibels(toNumber(sqnr))}`).join(', ');
  return html`<section id="analysis"><h2>Who is to blame, and what helps</h2>
<p>Each quantizer was switched on alone, with everything else in float, on ${plural(data.samples.length, 'sample')}: those with the largest errors and a spread of the others. Everything quantized, these give ${ends}.</p>
${findings.length > 0 && html`<ul>${findings.map((finding) => html`<li>${finding}</li>`)}</ul>`}
${blameBars(byRank)}
${decibelCurve(
  quantizers.flatMap(({ name, accumulated }) =>
    accumulated ? [{ name, value: least(accumulated.outputs) }] : [],
  ),
  'Signal over noise at the outputs with everything up to a tensor quantized',
  'Signal over noise in dB at the network’s outputs with everything up to each activation quantized and everything behind it in float, from the input (left) to the output (right).',
)}
${quantizerTable(analysis)}
${weightGallery(byRank)}</section>`;
}

/** Bars of the part of the noise that each quantizer brings, with the best remedy. */
function blameBars(byRank: readonly QuantizerAnalysis[]): Html | null {
  const shown = byRank.filter(({ share }) => share > 0).slice(0, BARS);
  const most = shown[0]?.share ?? 1;
  if (shown.length === 0) return null;
  return html`<p class="bars-head" aria-hidden="true"><span>Quantizer</span><span></span><span class="n">share</span><span class="n">alone</span></p>
<ol class="bars">${shown.map((quantizer) => {
    const [best] = quantizer.remedies;
    const help = best && html`<span class="note remedy">${remedyText(best)}</span>`;
    return html`<li><span class="name" title="${title(quantizer)}">${shortened(title(quantizer), 44)}</span>${bar(
      quantizer.share / most,
    )}<span class="n">${percent(quantizer.share)}</span><span class="n sqnr">${decibels(alone(quantizer))}</span>${help}</li>`;
  })}</ol>`;
}

const COLUMNS: Column<QuantizerAnalysis>[] = [
  { title: 'Rank', value: ({ rank }) => rank, format: String },
  { title: 'Bits', value: ({ bits }) => bits, format: String },
  { title: 'Share', value: ({ share }) => share, format: percent },
  { title: 'Alone dB', value: alone, format: one },
  { title: 'At layer dB', value: ({ solo }) => solo.layer && toNumber(solo.layer), format: one },
  {
    title: 'Up to here dB',
    value: ({ accumulated }) => accumulated && least(accumulated.outputs),
    format: one,
  },
  {
    title: 'Tensor dB',
    value: ({ accumulated }) => accumulated && toNumber(accumulated.tensor),
    format: one,
  },
  { title: 'Kurtosis', value: ({ distribution }) => distribution?.kurtosis, format: significant3 },
  { title: 'Tail', value: ({ distribution }) => distribution?.tail, format: significant3 },
  {
    title: 'Outlier channels',
    value: ({ distribution }) => distribution?.channels.outliers.length,
    format: String,
  },
  { title: 'Dead channels', value: ({ distribution }) => distribution?.channels.dead.length, format: String },
  { title: 'Growth', value: ({ distribution }) => distribution?.growth?.lastDoubling, format: growth },
];

function quantizerTable({ quantizers, data }: Analysis): Html {
  return html`<details><summary>All ${plural(quantizers.length, 'quantizer')}, with their distributions over ${plural(data.profiled, 'sample')}</summary>
<p class="note">Alone: at the outputs, everything else in float. At layer: behind the layers that read it. Up to here: at the outputs, with everything before quantized, too. Tail: the largest magnitude over the one that 99.9 % stay below. Growth: how much wider the range became over the second half of the samples.</p>
<div class="scroll tall" tabindex="0" role="region" aria-label="Table of all quantizers"><table class="sortable">
<thead><tr><th scope="col">Quantizer</th>${headings(COLUMNS)}<th scope="col">What helps</th></tr></thead>
<tbody>${quantizers.map(
    (quantizer) =>
      html`<tr><th scope="row" class="name">${title(quantizer)}</th>${cells(COLUMNS, quantizer)}<td class="rule">${
        quantizer.remedies.length > 0 && quantizer.remedies.map(remedyText).join('; ')
      }</td></tr>
`,
  )}</tbody></table></div></details>`;
}

/** Histograms of the weights to blame most. */
function weightGallery(byRank: readonly QuantizerAnalysis[]): Html | null {
  const shown = byRank
    .filter(({ kind, distribution }) => kind === 'weight' && distribution)
    .slice(0, WEIGHTS);
  if (shown.length === 0) return null;
  return html`<h3>Weights to blame most</h3><div class="gallery">${shown.map(({ name, distribution }) => {
    const { low, high, histogram, channels, kurtosis } = distribution!;
    const [worst] = channels.outliers;
    const notes = [
      `${plural(channels.count, 'channel')}`,
      kurtosis === null ? '' : `kurtosis ${significant3(kurtosis)}`,
      worst
        ? `channel ${worst.channel} reaches ${worst.ratio.toFixed(0)} times as far as the median one`
        : '',
      channels.dead.length > 0 ? `${channels.dead.length} dead` : '',
    ].filter((note) => note !== '');
    const text = `Weights of ${name} from ${significant(low)} to ${significant(high)}.`;
    return html`<figure><figcaption class="name" title="${name}">${shortened(name, 56)}</figcaption>${plainHistogram(
      { low, high, counts: histogram },
      text,
    )}<p class="ends"><span>${significant(low)}</span><span>${significant(high)}</span></p><p class="note">${notes.join(' · ')}</p></figure>`;
  })}</div>`;
}

function remedyText({ flag, note, removes }: QuantizerAnalysis['remedies'][number]): string {
  return `${flag ?? note} (−${percent(Math.min(1, removes), 0)})`;
}

const title = ({ kind, name }: QuantizerAnalysis): string => (kind === 'weight' ? `${name} (weight)` : name);

function alone({ solo }: QuantizerAnalysis): number {
  return least(solo.outputs);
}

const least = (values: readonly JsonNumber[]): number => Math.min(...values.map(toNumber));

function one(value: number): string {
  return Number.isFinite(value) ? value.toFixed(1) : '∞';
}

function significant3(value: number): string {
  return significant(value, 3);
}

function growth(value: number): string {
  return value > 99 ? '> 99×' : percent(value, 0);
}
