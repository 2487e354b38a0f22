import { analysisSection } from './analysis-section.js';
import { doorSection } from './door.js';
import { renderPage } from './page.js';
import { precisionSection } from './precision-section.js';
import { reproduceSection } from './run-sections.js';
import { accuracy, cards, facts, header, warnings } from './summary.js';
import { floatSection, tensorTable, weightTable } from './tables.js';
import { distributionSection, noiseSection, suspectSection } from './tensor-sections.js';
import { tuningSection } from './tuning-section.js';
import type { ReportInput } from './types.js';

export { type RunFiles, reportInput } from './input.js';
export type { ReportInput } from './types.js';

const LINKS = [
  ['accuracy', 'Accuracy'],
  ['summary', 'Summary'],
  ['framework', 'Framework'],
  ['precision', 'Precision'],
  ['tuning', 'Settings compared'],
  ['analysis', 'Analysis'],
  ['suspects', 'Suspects'],
  ['noise', 'Noise'],
  ['ranges', 'Ranges'],
  ['tensors', 'Tensors'],
  ['weights', 'Weights'],
  ['float', 'Float'],
  ['reproduce', 'Reproduce'],
] as const;

/** The report as one HTML file. The same input gives the same bytes. All names are escaped. */
export function renderReport(input: ReportInput): string {
  return renderPage({
    title: `${input.result.model.name} – dopt report`,
    links: LINKS,
    version: input.result.dopt,
    sections: [
      header(input),
      cards(input),
      warnings(input),
      accuracy(input),
      facts(input),
      doorSection(input),
      precisionSection(input),
      tuningSection(input),
      analysisSection(input),
      suspectSection(input),
      noiseSection(input),
      distributionSection(input),
      tensorTable(input),
      weightTable(input),
      floatSection(input),
      reproduceSection(input),
    ],
  });
}
