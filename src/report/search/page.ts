import { plural, significant } from '../format.js';
import { type Html, html } from '../html.js';
import { renderPage } from '../page.js';

/** A network that was tried. */
export interface TriedView {
  score: number;
  cost: number;
  /** Its number among the results; null for one that another beats. */
  number: number | null;
  layers: readonly { block: string; out: number; kernel: number }[];
  /** What each layer is predicted to take by itself; null for one that another beats. */
  milliseconds: readonly number[] | null;
}

export interface SearchView {
  version: string;
  scenario: string;
  /** What `cost` is, with its unit. */
  cost: string;
  /** What networks are compared by beside it. */
  by: 'score' | 'loss';
  /** In the order in which they were tried; those without a score are left out. */
  tried: readonly TriedView[];
  failed: number;
  /** Where `milliseconds` were predicted for. */
  device: string;
  /** Share of the volume that was reached, after so many networks. */
  volumes: readonly { tried: number; volume: number }[];
}

const LINKS = [
  ['front', 'Front'],
  ['progress', 'Progress'],
  ['blocks', 'Blocks'],
  ['times', 'Times'],
  ['networks', 'Networks'],
] as const;

const STYLE = `
.plot { width: 100%; height: auto; overflow: visible; }
.plot text { font-size: 12px; fill: var(--quiet); }
.plot .other { fill: var(--quiet); opacity: .35; }
.plot .best { fill: var(--accent, #2563eb); }
.plot path { fill: none; stroke: var(--accent, #2563eb); stroke-width: 2; }
.plot .axis { stroke: var(--edge); }
`;

/** What a search has found, as one HTML file. The same input gives the same bytes. All names are escaped. */
export function renderSearch(view: SearchView): string {
  return renderPage({
    title: `${view.scenario} – architecture search`,
    links: LINKS,
    version: view.version,
    style: STYLE,
    sections: [header(view), front(view), progress(view), blocks(view), times(view), networks(view)],
  });
}

const isBest = ({ number }: TriedView): boolean => number !== null;

function header({ version, scenario, tried, failed, by }: SearchView): Html {
  const best = tried.filter(isBest).length;
  return html`<header>
<p class="eyebrow">dopt ${version} · architecture search</p>
<h1>${scenario}</h1>
<p class="rule">${plural(tried.length + failed, 'network')} tried${failed > 0 ? `, ${failed} without a score` : ''}; ${plural(best, 'network')} that no other beats in ${by} and cost.</p>
</header>`;
}

const PLOT = { width: 960, height: 320, left: 60, bottom: 36 };

/** Places of values along an axis, with a little room at both ends. */
function scale(values: readonly number[], from: number, to: number): (value: number) => number {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = (high - low || Math.abs(high) || 1) * 0.05;
  return (value) => from + ((value - low + room) / (high - low + 2 * room)) * (to - from);
}

const names = ({ layers }: TriedView): string =>
  layers
    .map(({ block, out, kernel }) => (block === 'skip' ? 'skip' : `${block} ${kernel}×${kernel} ${out}`))
    .join(', ');

function front({ tried, cost }: SearchView): Html | null {
  if (tried.length === 0) return null;
  const { width, height, left, bottom } = PLOT;
  const x = scale(
    tried.map((one) => one.cost),
    left,
    width,
  );
  const y = scale(
    tried.map((one) => one.score),
    height - bottom,
    0,
  );
  const point = (one: TriedView): Html =>
    html`<circle class="${isBest(one) ? 'best' : 'other'}" cx="${x(one.cost).toFixed(1)}" cy="${y(one.score).toFixed(1)}" r="${isBest(one) ? 6 : 4}"><title>${one.number === null ? '' : `${one.number}: `}score ${significant(one.score)}, ${cost} ${significant(one.cost)}: ${names(one)}</title></circle>`;
  // Those that no other beats lie on top.
  const order = [...tried.filter((one) => !isBest(one)), ...tried.filter(isBest)];
  return html`<section id="front"><h2>Score and cost</h2><figure class="curve">
<svg class="plot" viewBox="0 0 ${width} ${height}" role="img" aria-label="Score against ${cost} of ${tried.length} networks">${axes(
    tried.map((one) => one.cost),
    tried.map((one) => one.score),
    x,
    y,
  )}${order.map(point)}</svg>
<figcaption>Score (up) against ${cost} (right). Coloured networks are those that no other beats; point at one to see its layers.</figcaption></figure></section>`;
}

function axes(
  across: readonly number[],
  up: readonly number[],
  x: (value: number) => number,
  y: (value: number) => number,
): Html {
  const { width, height, left, bottom } = PLOT;
  const ends = (values: readonly number[]): number[] => [
    ...new Set([Math.min(...values), Math.max(...values)]),
  ];
  return html`<line class="axis" x1="${left}" x2="${width}" y1="${height - bottom}" y2="${height - bottom}"/><line class="axis" x1="${left}" x2="${left}" y1="0" y2="${height - bottom}"/>${ends(
    across,
  ).map(
    (value) =>
      html`<text x="${x(value).toFixed(1)}" y="${height - bottom + 18}" text-anchor="middle">${significant(value)}</text>`,
  )}${ends(up).map((value) => html`<text x="${left - 6}" y="${(y(value) + 4).toFixed(1)}" text-anchor="end">${significant(value)}</text>`)}`;
}

function progress({ volumes }: SearchView): Html | null {
  if (volumes.length < 2) return null;
  const { width, height, left, bottom } = PLOT;
  const [across, up] = [volumes.map(({ tried }) => tried), volumes.map(({ volume }) => volume)];
  const [x, y] = [scale(across, left, width), scale([0, 1], height - bottom, 0)];
  const path = volumes.map(
    ({ tried, volume }, at) => `${at === 0 ? 'M' : 'L'}${x(tried).toFixed(1)} ${y(volume).toFixed(1)}`,
  );
  return html`<section id="progress"><h2>Progress</h2><figure class="curve">
<svg class="plot" viewBox="0 0 ${width} ${height}" role="img" aria-label="Volume over networks tried, ${significant(up.at(-1)!)} in the end">${axes(across, [0, 1], x, y)}<path d="${path.join('')}"/></svg>
<figcaption>Volume between the worst score and the highest cost that was tried, as a share, over networks tried.</figcaption></figure></section>`;
}

/** How often each kind of block stands in each layer of the networks that none beats. */
function blocks({ tried }: SearchView): Html | null {
  const best = tried.filter(isBest);
  if (best.length === 0) return null;
  const kinds = [...new Set(best.flatMap(({ layers }) => layers.map(({ block }) => block)))].sort();
  const share = (layer: number, kind: string): number =>
    best.filter(({ layers }) => layers[layer]!.block === kind).length / best.length;
  return html`<section id="blocks"><h2>Blocks of the best networks</h2><div class="scroll" tabindex="0" role="region" aria-label="Blocks by layer"><table>
<thead><tr><th scope="col">Layer</th>${kinds.map((kind) => html`<th scope="col" class="n">${kind}</th>`)}</tr></thead>
<tbody>${best[0]!.layers.map(
    (_, layer) =>
      html`<tr><th scope="row">${layer}</th>${kinds.map((kind) => {
        const part = share(layer, kind);
        return shaded(part, part > 0 ? `${(100 * part).toFixed(0)} %` : '');
      })}</tr>`,
  )}</tbody></table></div></section>`;
}

/** A cell that is the darker the larger its share is. */
const shaded = (share: number, text: string): Html =>
  html`<td class="n" style="background: color-mix(in srgb, currentColor ${(25 * share).toFixed(0)}%, transparent)">${text}</td>`;

/** What each layer of the networks that none beats is predicted to take. */
function times({ tried, device }: SearchView): Html | null {
  const best = tried
    .filter(isBest)
    .sort((a, b) => a.number! - b.number!)
    .flatMap(({ number, milliseconds }) => (milliseconds ? [{ number, milliseconds }] : []));
  if (best.length === 0) return null;
  const most = Math.max(...best.flatMap(({ milliseconds }) => milliseconds), Number.MIN_VALUE);
  return html`<section id="times"><h2>Predicted time of each layer</h2><div class="scroll" tabindex="0" role="region" aria-label="Times by layer"><table>
<thead><tr><th scope="col">Network</th>${best[0]!.milliseconds.map((_, layer) => html`<th scope="col" class="n">${layer}</th>`)}</tr></thead>
<tbody>${best.map(
    ({ number, milliseconds }) =>
      html`<tr><th scope="row">${number}</th>${milliseconds.map((ms) => shaded(ms / most, ms > 0 ? significant(ms) : ''))}</tr>`,
  )}</tbody></table></div><p>Milliseconds of each searched layer by itself (${device}).</p></section>`;
}

function networks({ tried, cost }: SearchView): Html | null {
  const best = tried.filter(isBest).sort((a, b) => a.number! - b.number!);
  if (best.length === 0) return null;
  return html`<section id="networks"><h2>Networks that no other beats</h2><div class="scroll" tabindex="0" role="region" aria-label="Networks"><table>
<thead><tr><th scope="col">File</th><th scope="col" class="n">Score</th><th scope="col" class="n">${cost}</th><th scope="col">Layers</th></tr></thead>
<tbody>${best.map(
    (one) =>
      html`<tr><th scope="row" class="name">model_arch_result_${one.number}.py</th><td class="n">${significant(one.score)}</td><td class="n">${significant(one.cost)}</td><td>${names(one)}</td></tr>`,
  )}</tbody></table></div></section>`;
}
