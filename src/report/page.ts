import { createHash } from 'node:crypto';
import { Html, html } from './html.js';
import { SCRIPT } from './script.js';
import { STYLE } from './style.js';

export interface Page {
  title: string;
  /** The head of the page, then its sections; those that have nothing to say are null. */
  sections: readonly (Html | null)[];
  /** Ids of sections with their names in the navigation, where they are present. */
  links: readonly (readonly [id: string, title: string])[];
  /** Version of dopt. */
  version: string;
  /** Style rules beside the common ones. */
  style?: string;
}

/**
 * A report as one HTML file that needs nothing else: style, script and charts lie inside, and its content security policy
 * forbids every request.
 */
export function renderPage({ title, sections, links, version, style = '' }: Page): string {
  const present = sections.filter((section) => section !== null);
  const ids = present.map((section) => /^<section id="(\w+)"/.exec(section.text)?.[1]);
  const [head, ...rest] = present;
  return `<!DOCTYPE html>
${html`<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy()}">
<title>${title}</title>
<style>${new Html(STYLE + style)}</style></head>
<body><main>
${head}
<nav aria-label="Sections">${links
  .filter(([id]) => ids.includes(id))
  .map(([id, name]) => html`<a href="#${id}">${name}</a>`)}</nav>
${rest}
<footer><p>Made by dopt ${version}. This file is complete: it loads nothing from anywhere.</p></footer>
</main><script>${new Html(SCRIPT)}</script></body></html>
`}`;
}

/** Nothing may be fetched; the one script that may run is known by its digest. */
function policy(): string {
  const digest = createHash('sha256').update(SCRIPT).digest('base64');
  return `default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-${digest}'`;
}
