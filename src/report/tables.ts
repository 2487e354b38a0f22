import type { RunResult } from '../config/result.js';
import { percent, plural, significant } from './format.js';
import { type Html, html } from './html.js';
import type { ReportInput, TensorReport, WeightReport } from './types.js';

/** A column of numbers: how a row's value is found and shown. Missing values are null or undefined. */
export interface Column<Row> {
  title: string;
  value: (row: Row) => number | null | undefined;
  format: (value: number) => string;
}

const TENSOR_COLUMNS: Column<TensorReport>[] = [
  { title: 'Own noise', value: ({ measured }) => measured?.blame, format: percent },
  {
    title: 'SQNR dB',
    value: ({ measured }) => measured?.sqnr,
    format: (value) => (Number.isFinite(value) ? value.toFixed(1) : '∞'),
  },
  { title: 'Saturated', value: ({ seen }) => seen?.saturated, format: percent },
  { title: 'Low', value: ({ seen }) => seen?.low, format: significant },
  { title: 'High', value: ({ seen }) => seen?.high, format: significant },
  { title: 'Clip low', value: ({ clip }) => clip[0], format: significant },
  { title: 'Clip high', value: ({ clip }) => clip[1], format: significant },
  { title: 'Scale', value: ({ scale }) => scale.largest, format: significant },
  { title: 'Zero point', value: ({ zeroPoint }) => zeroPoint, format: String },
  { title: 'Cosine', value: ({ measured }) => measured?.cosine, format: (value) => value.toFixed(5) },
];

/** Every quantized activation. */
export function tensorTable({ tensors }: ReportInput): Html {
  const channelwise = tensors.filter(({ scale }) => scale.channels > 1).length;
  return html`<section id="tensors"><h2>All quantized activations</h2>
${
  channelwise > 0 &&
  html`<p>${plural(channelwise, 'tensor')} with a scale a channel: shown are the largest scale and the widest clip.</p>`
}
<div class="scroll tall" tabindex="0" role="region" aria-label="Table of all quantized activations"><table class="sortable">
<caption>${plural(tensors.length, 'tensor')} in graph order</caption>
<thead><tr><th scope="col" class="n">#</th><th scope="col">Tensor</th><th scope="col">Kind</th><th scope="col">Rule</th>${headings(
    TENSOR_COLUMNS,
  )}</tr></thead>
<tbody>${tensors.map((tensor, index) => {
    const { name, kind, rule } = tensor;
    return html`<tr><td class="n" data-v="${index}">${index + 1}</td><th scope="row" class="name">${name}</th><td>${kind}</td><td class="rule">${rule}</td>${cells(
      TENSOR_COLUMNS,
      tensor,
    )}</tr>
`;
  })}</tbody></table></div></section>`;
}

const WEIGHT_COLUMNS: Column<WeightReport>[] = [
  { title: 'Scales', value: ({ scale }) => scale.channels, format: String },
  { title: 'Smallest', value: ({ scale }) => scale.smallest, format: (value) => significant(value, 3) },
  { title: 'Largest', value: ({ scale }) => scale.largest, format: (value) => significant(value, 3) },
  { title: 'Dead', value: ({ deadChannels }) => deadChannels, format: String },
];

/** Weights by operator. */
export function weightTable({ weights }: ReportInput): Html | null {
  if (weights.length === 0) return null;
  const dead = weights.reduce((sum, { deadChannels }) => sum + deadChannels, 0);
  const verdict =
    dead === 0
      ? 'no dead channels'
      : `${plural(dead, 'dead channel')} (all weights below 2⁻¹⁶ of the layer's largest)`;
  return html`<section id="weights"><h2>Weights</h2>
<p>${plural(weights.length, 'weight')}; ${verdict}.</p>
<details><summary>All weights</summary><div class="scroll tall" tabindex="0" role="region" aria-label="Table of all weights"><table class="sortable">
<thead><tr><th scope="col">Operator</th><th scope="col">Weight</th>${headings(WEIGHT_COLUMNS)}</tr></thead>
<tbody>${weights.map(
    (weight) =>
      html`<tr><th scope="row" class="name">${weight.node}</th><td class="name">${weight.name}</td>${cells(WEIGHT_COLUMNS, weight)}</tr>
`,
  )}</tbody></table></div></details></section>`;
}

/** What stayed in float, by operator type and reason. */
export function floatSection({ result }: { result: RunResult }): Html {
  const groups = new Map<string, { cause: string; nodes: string[] }>();
  for (const { node, op, reason, cause } of result.quantization.floatNodes) {
    const key = `${op}: ${reason}`;
    const group = groups.get(key) ?? { cause, nodes: [] };
    group.nodes.push(node);
    groups.set(key, group);
  }
  const items = [...groups].map(
    ([title, { cause, nodes }]) =>
      html`<li><details><summary><span class="cause ${cause}">${cause}</span> ${title} <span class="quiet">(${plural(
        nodes.length,
        'operator',
      )})</span></summary><p class="name">${nodes.join(', ')}</p></details></li>`,
  );
  return html`<section id="float"><h2>Left in float</h2>${
    items.length === 0
      ? html`<p>Nothing: every operator is quantized.</p>`
      : html`<ul class="float">${items}</ul>`
  }</section>`;
}

export function headings<Row>(columns: readonly Column<Row>[]): Html[] {
  return columns.map(({ title }) => html`<th scope="col" class="n">${title}</th>`);
}

/** The cells of a row; `data-v` is the exact value, for sorting. */
export function cells<Row>(columns: readonly Column<Row>[], row: Row): Html[] {
  return columns.map(({ value, format }) => {
    const number = value(row) ?? null;
    if (number === null) return html`<td class="n">–</td>`;
    return html`<td class="n" data-v="${Number(number.toPrecision(6))}">${format(number)}</td>`;
  });
}
