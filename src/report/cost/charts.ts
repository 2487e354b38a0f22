import type { CostOfNetwork, LayerCost } from '../../config/cost.js';
import { bytes, milliseconds, plural, significant } from '../format.js';
import { type Html, html } from '../html.js';
import { BOUNDS } from './lines.js';

const ROOF = { width: 1000, height: 340, left: 56, bottom: 34, top: 10, right: 16 };

/** Bytes that a layer moves, wherever they lie. */
const moved = ({ bytes: { weights, external, onChip } }: LayerCost): number => weights + external + onChip;

/**
 * The roofline: what each layer reaches, over what it computes with each byte it moves (Williams, Waterman, Patterson,
 * "Roofline", 2009). The slopes are the two memories, the flat part is the matrix unit; the area of a point is its time.
 */
export function rooflineChart({ layers, peak, seconds, precision }: CostOfNetwork): Html | null {
  const points = layers.filter(({ macs, seconds: time }) => macs > 0 && time > 0);
  if (points.length === 0) return null;
  const intensity = points.map((layer) => layer.macs / moved(layer));
  const rate = points.map((layer) => layer.macs / layer.seconds);
  const ridge = peak.macs / peak.external;
  const x = logScale([...intensity, ridge], ROOF.left, ROOF.width - ROOF.right);
  const y = logScale([...rate, peak.macs], ROOF.height - ROOF.bottom, ROOF.top);
  const [low, high] = x.range;
  const roof = (bandwidth: number): string => {
    const corner = Math.min(high, Math.max(low, peak.macs / bandwidth));
    const height = (at: number): string => y.at(Math.min(peak.macs, at * bandwidth)).toFixed(1);
    return `M${x.at(low).toFixed(1)} ${height(low)}L${x.at(corner).toFixed(1)} ${height(corner)}H${x.at(high).toFixed(1)}`;
  };
  const text = `Roofline: ${plural(points.length, 'layer')}; the matrix unit computes ${significant(peak.macs / 1e12, 3)} million million multiplications a second, external memory carries ${bytes(peak.external)} a second; ${
    points.filter((_, index) => intensity[index]! < ridge).length
  } layers compute less with each byte than the ${significant(ridge, 3)} at the corner.`;
  return html`<figure class="chart"><svg viewBox="0 0 ${ROOF.width} ${ROOF.height}" role="img" aria-label="${text}">
<defs><clipPath id="plot"><rect x="${ROOF.left}" y="0" width="${ROOF.width - ROOF.left}" height="${ROOF.height - ROOF.bottom}"/></clipPath></defs>
${x.ticks.map((tick) => html`<line class="grid" x1="${x.at(tick).toFixed(1)}" x2="${x.at(tick).toFixed(1)}" y1="${ROOF.top}" y2="${ROOF.height - ROOF.bottom}"/><text class="tick" text-anchor="middle" x="${x.at(tick).toFixed(1)}" y="${ROOF.height - 16}">${significant(tick)}</text>`)}
${y.ticks.map((tick) => html`<line class="grid" x1="${ROOF.left}" x2="${ROOF.width - ROOF.right}" y1="${y.at(tick).toFixed(1)}" y2="${y.at(tick).toFixed(1)}"/><text class="tick" text-anchor="end" x="${ROOF.left - 8}" y="${(y.at(tick) + 4).toFixed(1)}">${significant(tick / 1e9)}</text>`)}
<g clip-path="url(#plot)"><path class="roof" d="${roof(peak.external)}"/><path class="roof chip" d="${roof(peak.onChip)}"/>
${points.map((layer, index) => html`<circle class="b-${layer.bound}" cx="${x.at(intensity[index]!).toFixed(1)}" cy="${y.at(rate[index]!).toFixed(1)}" r="${(3 + 14 * Math.sqrt(layer.seconds / seconds)).toFixed(1)}"><title>${layer.name}: ${milliseconds(layer.seconds)} ms, ${BOUNDS[layer.bound]}</title></circle>`)}</g></svg>
<figcaption>Thousand million multiplications a second (up) over multiplications for each byte moved (right), ${precision}. The slope is external memory, dashed the memory on the chip. What holds a layer below them is told by its colour; larger points take longer.</figcaption></figure>`;
}

/** A logarithmic scale around values, with its powers of ten. */
function logScale(values: readonly number[], from: number, to: number) {
  const logs = values.map(Math.log10);
  const low = Math.min(...logs) - 0.15;
  const high = Math.max(...logs) + 0.15;
  const at = (value: number): number => from + ((Math.log10(value) - low) / (high - low)) * (to - from);
  const ticks: number[] = [];
  for (let power = Math.ceil(low); power <= Math.floor(high); power++) ticks.push(10 ** power);
  return { at, ticks, range: [10 ** low, 10 ** high] as const };
}

const COLUMNS = { width: 1000, height: 170 };

/** The time of every kernel in the order they run, by what limits it. */
export function layerChart({ layers, seconds }: CostOfNetwork): Html | null {
  const shown = layers.filter((layer) => layer.seconds > 0);
  if (shown.length < 2) return null;
  const { width, height } = COLUMNS;
  const most = Math.max(...shown.map((layer) => layer.seconds));
  const step = width / shown.length;
  const slowest = shown.find((layer) => layer.seconds === most)!;
  const text = `Time of ${plural(shown.length, 'kernel')} in the order they run: the slowest is ${slowest.name} with ${milliseconds(most)} of ${milliseconds(seconds)} ms.`;
  return html`<figure class="chart"><div class="plot"><div class="axis" aria-hidden="true"><span>${milliseconds(most)}</span><span>${milliseconds(most / 2)}</span><span>0</span></div>
<svg viewBox="0 0 ${width} ${height}" preserveAspectRatio="none" role="img" aria-label="${text}">
<line class="grid" x2="${width}" y1="${height / 2}" y2="${height / 2}"/>
${shown.map((layer, index) => {
  const size = (layer.seconds / most) * height;
  return html`<rect class="b-${layer.bound}" x="${(index * step + step * 0.08).toFixed(2)}" width="${(step * 0.84).toFixed(2)}" y="${(height - size).toFixed(1)}" height="${size.toFixed(1)}"><title>${layer.name} (${layer.op}): ${milliseconds(layer.seconds)} ms, ${BOUNDS[layer.bound]}</title></rect>`;
})}</svg></div>
<figcaption>Milliseconds of each kernel, from the input (left) to the output (right).</figcaption></figure>`;
}

/** Shares of the time by what limits it, as a legend with figures. */
export function boundLegend({ layers, seconds, run }: CostOfNetwork): Html {
  const sums = new Map<LayerCost['bound'], number>();
  for (const { bound, seconds: time } of layers) sums.set(bound, (sums.get(bound) ?? 0) + time);
  const sorted = [...sums].filter(([, time]) => time > 0).sort((a, b) => b[1] - a[1]);
  return html`<ul class="legend">${sorted.map(
    ([bound, time]) =>
      html`<li><svg viewBox="0 0 10 10" aria-hidden="true"><rect class="b-${bound}" width="10" height="10" rx="2"/></svg>${BOUNDS[bound]} <span class="quiet">${milliseconds(time)} ms, ${((100 * time) / seconds).toFixed(0)} %</span></li>`,
  )}<li class="quiet">start of the network ${milliseconds(run)} ms</li></ul>`;
}

/** The interval of a time as a bar on a common scale; decoration beside the numbers it shows. */
export function intervalBar({ interval, seconds }: CostOfNetwork, most: number): Html {
  const at = (value: number): string => ((100 * value) / most).toFixed(2);
  return html`<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" height="10" rx="1"/><rect class="range" x="${at(interval[0])}" width="${at(interval[1] - interval[0])}" height="10"/><rect class="fill" x="${(Number(at(seconds)) - 0.4).toFixed(2)}" width="0.8" height="10"/></svg>`;
}

/** Style of the charts: one colour for each thing that limits a kernel, for light and dark alike. */
export const COST_STYLE = `
.chart { margin: 0 0 12px; }
.chart > svg { width: 100%; height: auto; display: block; }
.tick { fill: var(--quiet); font-size: 12px; }
.roof { fill: none; stroke: var(--ink); stroke-width: 2; }
.chip { stroke: var(--quiet); stroke-dasharray: 6 5; stroke-width: 1.5; }
.chart figcaption { margin-top: 12px; font-size: 13px; }
circle { stroke: var(--paper); stroke-width: 1; fill-opacity: .85; }
.legend { margin: 0 0 12px; padding: 0; list-style: none; display: flex; flex-wrap: wrap; gap: 4px 20px; font-size: 14px; }
.legend svg { width: 12px; height: 12px; margin-right: 6px; vertical-align: -1px; }
.b-matrix { fill: #2f6fd0; } .b-vector { fill: #8a63d2; } .b-external { fill: #d9822b; } .b-onChip { fill: #c9a227; }
.b-buffers { fill: #7d8b2f; } .b-overhead { fill: #8793a3; } .b-host { fill: #c23934; }
.range { fill: var(--accent-soft); } .totals .bar { min-width: 160px; height: 12px; }
.advice { margin: 0; padding-left: 24px; } .advice li { padding: 8px 0; border-top: 1px solid var(--edge); }
.advice li:first-child { border-top: 0; } .advice p { margin: 0; overflow-wrap: anywhere; }
@media print { .chart svg { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
`;
