import { createHash } from 'node:crypto';
import { analysisSection } from './analysis-section.js';
import { doorSection } from './door.js';
import { Html, html } from './html.js';
import { precisionSection } from './precision-section.js';
import { reproduceSection } from './run-sections.js';
import { SCRIPT } from './script.js';
import { STYLE } from './style.js';
import { accuracy, cards, facts, header, warnings } from './summary.js';
import { floatSection, tensorTable, weightTable } from './tables.js';
import { distributionSection, noiseSection, suspectSection } from './tensor-sections.js';
import type { ReportInput } from './types.js';

export { type RunFiles, reportInput } from './input.js';
export type { ReportInput } from './types.js';

const LINKS = [
  ['accuracy', 'Accuracy'],
  ['summary', 'Summary'],
  ['framework', 'Framework'],
  ['precision', 'Precision'],
  ['analysis', 'Analysis'],
  ['suspects', 'Suspects'],
  ['noise', 'Noise'],
  ['ranges', 'Ranges'],
  ['tensors', 'Tensors'],
  ['weights', 'Weights'],
  ['float', 'Float'],
  ['reproduce', 'Reproduce'],
] as const;

/**
 * The report as one HTML file that needs nothing else: style, script and charts lie inside, and its content security
 * policy forbids every request. The same input gives the same bytes. All names are escaped.
 */
export function renderReport(input: ReportInput): string {
  const sections = [
    header(input),
    cards(input),
    warnings(input),
    accuracy(input),
    facts(input),
    doorSection(input),
    precisionSection(input),
    analysisSection(input),
    suspectSection(input),
    noiseSection(input),
    distributionSection(input),
    tensorTable(input),
    weightTable(input),
    floatSection(input),
    reproduceSection(input),
  ].filter((section) => section !== null);
  const present = sections.map((section) => /^<section id="(\w+)"/.exec(section.text)?.[1]);
  const links = LINKS.filter(([id]) => present.includes(id));
  const [head, ...rest] = sections;
  return `<!DOCTYPE html>
${html`<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy()}">
<title>${input.result.model.name} – dopt report</title>
<style>${new Html(STYLE)}</style></head>
<body><main>
${head}
<nav aria-label="Sections">${links.map(([id, title]) => html`<a href="#${id}">${title}</a>`)}</nav>
${rest}
<footer><p>Made by dopt ${input.result.dopt}. This file is complete: it loads nothing from anywhere.</p></footer>
</main><script>${new Html(SCRIPT)}</script></body></html>
`}`;
}

/** Nothing may be fetched; the one script that may run is known by its digest. */
function policy(): string {
  const digest = createHash('sha256').update(SCRIPT).digest('base64');
  return `default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-${digest}'`;
}
