import type { RunResult } from '../config/result.js';
import { bytes, seconds } from './format.js';
import { type Html, html } from './html.js';
import { shellQuote } from './shell.js';

/** Whether a second run gives the same bytes: a training program decides that itself. Pure. */
const repeatable = ({ settings, stages }: RunResult): string =>
  stages.some(({ name }) => name === 'train')
    ? 'Made inside of a training program, whose seeds and data decide whether a second run gives the same bytes.'
    : `Seed ${settings.seed}. The same inputs give the same bytes.`;

/** Command, stages, versions and files: what it takes to do the run again and to check the results. */
export function reproduceSection({ result }: { result: RunResult }): Html {
  const { command, stages, versions, files, model, data } = result;
  return html`<section id="reproduce"><h2>Reproduce</h2>
<pre tabindex="0"><code>${command.map(shellQuote).join(' ')}</code></pre>
<p>${repeatable(result)}</p>
<div class="columns">
${table(
  'Stages: time, peak memory of Python',
  stages.map(({ name, seconds: time, reused, peakBytes }) => [
    name,
    [reused ? 'reused' : seconds(time), ...(peakBytes === null ? [] : [bytes(peakBytes)])].join(', '),
  ]),
)}
${table('Versions', Object.entries(versions))}
</div>
<details><summary>Files and digests</summary><div class="scroll" tabindex="0" role="region" aria-label="Files and digests"><table>
<thead><tr><th scope="col">File</th><th scope="col" class="n">Size</th><th scope="col">SHA-256</th></tr></thead><tbody>
${[model.source, ...Object.values(files)].map(
  ({ path, bytes: size, sha256 }) =>
    html`<tr><th scope="row" class="name">${path}</th><td class="n">${bytes(size)}</td><td><code>${sha256}</code></td></tr>`,
)}
${[data.calibration, data.verification].map(
  (set) =>
    set &&
    html`<tr><th scope="row" class="name">${set.path}</th><td class="n">–</td><td><code>${set.sha256}</code></td></tr>`,
)}
</tbody></table></div></details></section>`;
}

function table(title: string, rows: [string, string][]): Html {
  return html`<table><caption>${title}</caption><tbody>${rows.map(
    ([name, value]) => html`<tr><th scope="row">${name}</th><td class="n">${value}</td></tr>`,
  )}</tbody></table>`;
}
