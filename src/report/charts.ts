import { decibels, percent, significant } from './format.js';
import { type Html, html } from './html.js';
import type { HistogramView, TensorReport } from './types.js';

/** A horizontal bar of a share of the full width; decoration beside the number it shows. */
export function bar(share: number): Html {
  const width = Math.min(100, share * 100).toFixed(2);
  return html`<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" height="10" rx="1"/><rect class="fill" width="${width}" height="10" rx="1"/></svg>`;
}

const CHART = { width: 256, height: 72 };

/**
 * The histogram of a tensor on a logarithmic scale of counts, with the clip: shaded is what lies outside it.
 * Its text alternative says the same in words.
 */
export function histogramChart({ name, clip, seen, rule }: TensorReport): Html | null {
  if (!seen) return null;
  const { width, height } = CHART;
  // The clip may reach beyond the values; the chart shows both, but no more than twice what was seen.
  const span = seen.high - seen.low || 1;
  const low = Math.max(Math.min(seen.low, clip[0]), seen.low - span / 2);
  const high = Math.min(Math.max(seen.high, clip[1]), seen.high + span / 2);
  const x = (value: number): number => ((value - low) / (high - low || 1)) * width;
  const [from, to] = [x(clip[0]), x(clip[1])];
  const shade = (start: number, end: number): Html | null =>
    end - start > 0.5
      ? html`<rect class="outside" x="${start.toFixed(1)}" width="${(end - start).toFixed(1)}" height="${height}"/>`
      : null;
  const line = (at: number): Html | null =>
    at >= -0.5 && at <= width + 0.5
      ? html`<line class="clip" x1="${at.toFixed(1)}" x2="${at.toFixed(1)}" y2="${height}"/>`
      : null;
  const text = `Values of ${name} from ${significant(seen.low)} to ${significant(seen.high)}; clip from ${significant(
    clip[0],
  )} to ${significant(clip[1])} (${rule})${seen.saturated === null ? '' : `, ${percent(seen.saturated)} of the values outside`}.`;
  return html`<svg class="histogram" viewBox="-1 0 ${width + 2} ${height}" preserveAspectRatio="none" role="img" aria-label="${text}">
<path class="bins" d="${outline(seen.histogram, x, height)}"/>${shade(0, from)}${shade(to, width)}${line(from)}${line(to)}${
    low < 0 && high > 0
      ? html`<line class="zero" x1="${x(0).toFixed(1)}" x2="${x(0).toFixed(1)}" y2="${height}"/>`
      : null
  }</svg>`;
}

/** A histogram alone, counts on a logarithmic scale; `text` says in words what it shows. */
export function plainHistogram(view: HistogramView, text: string): Html {
  const { width, height } = CHART;
  const x = (value: number): number => ((value - view.low) / (view.high - view.low || 1)) * width;
  return html`<svg class="histogram" viewBox="-1 0 ${width + 2} ${height}" preserveAspectRatio="none" role="img" aria-label="${text}"><path class="bins" d="${outline(view, x, height)}"/></svg>`;
}

/** The histogram as one closed path of steps, heights by the logarithm of the counts. */
function outline({ low, high, counts }: HistogramView, x: (value: number) => number, height: number): string {
  const peak = Math.log1p(counts.reduce((a, b) => Math.max(a, b), 1));
  const width = (high - low) / counts.length;
  const steps = counts.map((count, k) => {
    const y = (height - 2) * (1 - Math.log1p(count) / peak) + 2;
    return `V${y.toFixed(1)}H${x(low + (k + 1) * width).toFixed(1)}`;
  });
  return `M${x(low).toFixed(1)} ${height}${steps.join('')}V${height}Z`;
}

const CURVE = { width: 1000, height: 180, most: 60 };

/** Signal over noise of every measured tensor in graph order; lower is worse. */
export function noiseCurve(tensors: readonly TensorReport[]): Html | null {
  return decibelCurve(
    tensors.flatMap(({ measured, name }) => (measured ? [{ name, value: measured.sqnr }] : [])),
    'Signal over noise along the network',
    'Signal over noise in dB at each quantizer, from the input (left) to the output (right). A step down is where accuracy is lost.',
  );
}

/** A curve of decibels along the network; null for too few points. `title` begins its text alternative. */
export function decibelCurve(
  measured: readonly { name: string; value: number }[],
  title: string,
  caption: string,
): Html | null {
  if (measured.length < 3) return null;
  const { width, height } = CURVE;
  const finite = measured.map(({ value }) => Math.max(-10, Math.min(CURVE.most, value)));
  const top = Math.ceil(Math.max(...finite) / 10) * 10;
  const bottom = Math.min(0, Math.floor(Math.min(...finite) / 10) * 10);
  const y = (value: number): number => ((top - value) / (top - bottom || 1)) * height;
  const x = (index: number): number => (index / (finite.length - 1)) * width;
  const levels = Array.from({ length: (top - bottom) / 10 + 1 }, (_, i) => bottom + 10 * i);
  const worst = measured.reduce((a, b) => (b.value < a.value ? b : a));
  const last = measured.at(-1)!;
  const text = `${title}, ${measured.length} tensors: lowest ${decibels(worst.value)} at ${worst.name}, ${decibels(last.value)} at the last one, ${last.name}.`;
  const points = finite.map((value, i) => `${x(i).toFixed(1)},${y(value).toFixed(1)}`).join(' ');
  return html`<figure class="curve"><div class="plot"><div class="axis" aria-hidden="true">${[...levels]
    .reverse()
    .map((level) => html`<span>${level}</span>`)}</div>
<svg viewBox="0 -2 ${width} ${height + 4}" preserveAspectRatio="none" role="img" aria-label="${text}">${levels.map(
    (level) =>
      html`<line class="grid" x2="${width}" y1="${y(level).toFixed(1)}" y2="${y(level).toFixed(1)}"/>`,
  )}<polyline points="${points}"/></svg></div>
<figcaption>${caption}</figcaption></figure>`;
}
