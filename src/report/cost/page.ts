import type { CostOfNetwork, CostResult, LayerCost } from '../../config/cost.js';
import { amount, bytes, milliseconds, percent, plural, significant } from '../format.js';
import { type Html, html } from '../html.js';
import { renderPage } from '../page.js';
import { boundLegend, COST_STYLE, intervalBar, layerChart, rooflineChart } from './charts.js';
import { BOUNDS, told } from './lines.js';

const LINKS = [
  ['totals', 'Totals'],
  ['time', 'Time'],
  ['change', 'What to change'],
  ['roofline', 'Roofline'],
  ['memory', 'Memory'],
  ['kernels', 'Kernels'],
  ['values', 'Values'],
] as const;

/** What a model costs, as one HTML file. The same input gives the same bytes. All names are escaped. */
export function renderCost(result: CostResult): string {
  const cost = told(result);
  return renderPage({
    title: `${result.model.name} – cost on ${cost.target}`,
    links: LINKS,
    version: result.dopt,
    style: COST_STYLE,
    sections: [
      header(result, cost),
      cards(result, cost),
      warnings(result),
      totals(result),
      time(cost),
      change(cost),
      roofline(cost),
      memory(cost),
      kernels(cost),
      values(cost),
    ],
  });
}

function header(
  { dopt, model }: CostResult,
  { target, precision, interval, seconds, measured }: CostOfNetwork,
): Html {
  const basis =
    measured > 0 ? `measurements of ${plural(measured, 'network')}` : 'its data sheet and assumptions';
  return html`<header>
<p class="eyebrow">dopt ${dopt} · cost model</p>
<h1>${model.name}</h1>
<p class="verdict unknown"><strong class="badge">Predicted</strong><span>${milliseconds(seconds)} ms on ${target} in ${precision}; 90 % of such predictions lie between ${milliseconds(interval[0])} and ${milliseconds(interval[1])} ms.</span></p>
<p class="rule">The profile of ${target} rests on ${basis}. No time here was measured with this model.</p>
</header>`;
}

function cards({ model, costs }: CostResult, cost: CostOfNetwork): Html {
  const float = costs.find(({ target, precision }) => target === cost.target && precision.startsWith('fp'));
  const list: [string, string, string][] = [
    ['Time', `${milliseconds(cost.seconds)} ms`, `in ${cost.precision}`],
    ...(float && float !== cost
      ? [
          [
            'Against float',
            `${(float.seconds / cost.seconds).toFixed(2)} times`,
            `faster than ${float.precision}`,
          ] as [string, string, string],
        ]
      : []),
    ['Weights', bytes(cost.memory.weights), `${amount(model.parameters)} parameters`],
    ['Activations', bytes(cost.memory.arena), `arena; most alive at ${cost.memory.peak.layer}`],
    ['Work', amount(model.macs), 'multiplications and additions'],
  ];
  return html`<section class="cards" aria-label="Key figures">${list.map(
    ([title, value, detail]) =>
      html`<div class="card"><p class="title">${title}</p><p class="value">${value}</p><p class="detail">${detail}</p></div>`,
  )}</section>`;
}

function warnings({ warnings: texts, model }: CostResult): Html | null {
  const all = [...model.notes, ...texts];
  if (all.length === 0) return null;
  return html`<section id="warnings" class="warnings"><h2>Warnings</h2><ul>${all.map((text) => html`<li>${text}</li>`)}</ul></section>`;
}

function totals({ costs }: CostResult): Html {
  const most = Math.max(...costs.map(({ interval }) => interval[1]));
  const base = new Map(costs.map((cost) => [cost.target, cost]).reverse() as [string, CostOfNetwork][]);
  return html`<section id="totals" class="totals"><h2>Totals</h2><div class="scroll" tabindex="0" role="region" aria-label="Totals"><table>
<thead><tr><th scope="col">Target</th><th scope="col">Precision</th><th scope="col" class="n">ms</th><th scope="col" class="n">90 % lie in</th><th scope="col">On one scale</th><th scope="col" class="n">Energy</th><th scope="col" class="n">Weights</th><th scope="col" class="n">Arena</th><th scope="col">Basis</th></tr></thead>
<tbody>${costs.map((cost) => {
    const { target, precision, seconds, interval, energy, energyMeasured, memory, measured } = cost;
    const relative = energy / base.get(target)!.energy;
    return html`<tr><th scope="row">${target}</th><td>${precision}</td><td class="n">${milliseconds(seconds)}</td><td class="n">${milliseconds(interval[0])} to ${milliseconds(interval[1])}</td><td>${intervalBar(cost, most)}</td><td class="n">${energyMeasured ? `${significant(energy * 1000, 3)} mJ` : relative.toFixed(2)}</td><td class="n">${bytes(memory.weights)}</td><td class="n">${bytes(memory.arena)}</td><td>${measured > 0 ? `measured with ${plural(measured, 'network')}` : 'data sheet and assumptions'}</td></tr>`;
  })}</tbody></table></div>
<p class="note">Energy without a unit is relative to the first precision of each target.</p></section>`;
}

function time(cost: CostOfNetwork): Html {
  return html`<section id="time"><h2>Where the time goes, ${cost.precision} on ${cost.target}</h2>${boundLegend(cost)}${layerChart(cost)}</section>`;
}

function change({ advice, seconds }: CostOfNetwork): Html {
  return html`<section id="change"><h2>What to change</h2>${
    advice.length === 0
      ? html`<p>Nothing stands out: channels fill the matrix unit, and no kernel only moves values or runs on the host.</p>`
      : html`<ol class="advice">${advice.map(
          ({ layer, message, gain }) =>
            html`<li><p><span class="name">${layer}</span>: ${message}</p><p class="quiet">Saves ${milliseconds(gain)} ms, ${percent(gain / seconds)} of the time.</p></li>`,
        )}</ol><p class="note">Each gain is that of one change alone.</p>`
  }</section>`;
}

function roofline(cost: CostOfNetwork): Html | null {
  const chart = rooflineChart(cost);
  return chart && html`<section id="roofline"><h2>Roofline</h2>${chart}</section>`;
}

function memory({ memory: { weights, arena, peak } }: CostOfNetwork): Html {
  return html`<section id="memory"><h2>Memory</h2>
<p>${bytes(weights)} of weights and an arena of ${bytes(arena)} for activations. Most of it, ${bytes(peak.bytes)}, is needed at <span class="name">${peak.layer}</span>:</p>
<div class="scroll" tabindex="0" role="region" aria-label="Tensors alive at the peak"><table><thead><tr><th scope="col">Tensor</th><th scope="col" class="n">Size</th></tr></thead>
<tbody>${peak.alive.map(({ tensor, bytes: size }) => html`<tr><th scope="row" class="name">${tensor}</th><td class="n">${bytes(size)}</td></tr>`)}</tbody></table></div></section>`;
}

interface Column {
  title: string;
  value: (layer: LayerCost) => number | null;
  format: (value: number) => string;
}

const COLUMNS: readonly Column[] = [
  { title: 'ms', value: ({ seconds }) => seconds, format: milliseconds },
  { title: 'Utilisation', value: ({ utilisation }) => utilisation, format: (value) => percent(value, 0) },
  {
    title: 'M multiplications',
    value: ({ macs }) => (macs > 0 ? macs / 1e6 : null),
    format: (value) => significant(value, 3),
  },
  { title: 'Weights', value: ({ bytes: { weights } }) => (weights > 0 ? weights : null), format: bytes },
  { title: 'External', value: ({ bytes: { external } }) => (external > 0 ? external : null), format: bytes },
  { title: 'On chip', value: ({ bytes: { onChip } }) => onChip, format: bytes },
];

function kernels({ layers, seconds }: CostOfNetwork): Html {
  return html`<section id="kernels"><h2>All kernels</h2><div class="scroll tall" tabindex="0" role="region" aria-label="Table of all kernels"><table class="sortable">
<caption>${plural(layers.length, 'kernel')} in the order they run, ${milliseconds(seconds)} ms together with the start of the network</caption>
<thead><tr><th scope="col" class="n">#</th><th scope="col">Kernel</th><th scope="col">Operator</th><th scope="col">In</th><th scope="col">Bound by</th>${COLUMNS.map(({ title }) => html`<th scope="col" class="n">${title}</th>`)}</tr></thead>
<tbody>${layers.map(
    (layer, index) =>
      html`<tr><td class="n" data-v="${index}">${index + 1}</td><th scope="row" class="name">${layer.name}</th><td>${layer.op}${layer.guessed && ' (a guess)'}</td><td>${layer.precision}</td><td>${BOUNDS[layer.bound]}</td>${COLUMNS.map(
        ({ value, format }) => {
          const number = value(layer);
          return number === null
            ? html`<td class="n">–</td>`
            : html`<td class="n" data-v="${Number(number.toPrecision(6))}">${format(number)}</td>`;
        },
      )}</tr>
`,
  )}</tbody></table></div></section>`;
}

function values({ restsOn, target }: CostOfNetwork): Html {
  return html`<section id="values"><h2>Values that the time rests on</h2>${
    restsOn.length === 0
      ? html`<p>Measurements have corrected every value of ${target} that it rests on.</p>`
      : html`<p>One per cent more of a value changes the time by so many per cent. Assumed values are guesses: <code>dopt target calibrate</code> replaces them by measurements.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Values of the profile"><table><thead><tr><th scope="col">Value</th><th scope="col">Status</th><th scope="col" class="n">Per cent</th><th scope="col">Source</th></tr></thead>
<tbody>${restsOn.map(
          ({ value, status, source, elasticity }) =>
            html`<tr><th scope="row" class="name">${value}</th><td><span class="cause ${status === 'assumed' && 'unsupported'}">${status}</span></td><td class="n">${elasticity.toFixed(2)}</td><td>${source}</td></tr>`,
        )}</tbody></table></div>`
  }</section>`;
}
