import type { LlmResult } from '../../config/llm-result.js';
import { amount, bytes, count, decibels, percent, seconds, significant, timesSmaller } from '../format.js';
import { type Html, html } from '../html.js';
import { renderPage } from '../page.js';
import { shellQuote } from '../shell.js';
import { judge } from './verdict.js';

const LINKS = [
  ['accuracy', 'Accuracy'],
  ['blocks', 'Blocks'],
  ['samples', 'Samples'],
  ['layers', 'Layers'],
  ['activations', 'Activations'],
  ['exports', 'Exports'],
  ['reproduce', 'Reproduce'],
] as const;

/** What became of a language model, as one HTML file. The same input gives the same bytes. All names are escaped. */
export function renderLlmReport(result: LlmResult): string {
  return renderPage({
    title: `${result.model.name} – dopt report`,
    links: LINKS,
    version: result.dopt,
    sections: [
      header(result),
      cards(result),
      warnings(result),
      accuracy(result),
      blocks(result),
      samples(result),
      layers(result),
      activations(result),
      exports(result),
      reproduce(result),
    ],
  });
}

function header(result: LlmResult): Html {
  const { level, sentence, rule } = judge(result);
  const label = { good: 'Good', caution: 'Check', bad: 'Poor', unknown: 'Not measured' }[level];
  return html`<header>
<p class="eyebrow">dopt ${result.dopt} · language model, ${result.model.architecture}</p>
<h1>${result.model.name}</h1>
<p class="verdict ${level}"><strong class="badge">${label}</strong><span>${sentence}</span></p>
<p class="rule">${rule}</p>
</header>`;
}

function cards({ score, coverage, memory, seconds: time, model }: LlmResult): Html {
  const list: [string, string, string][] = [];
  if (score) {
    const { float, quantized } = score;
    list.push([
      'Perplexity',
      `${significant(float.perplexity)} → ${significant(quantized.perplexity)}`,
      percent(quantized.perplexity / float.perplexity - 1, 2),
    ]);
    list.push(['Divergence', significant(quantized.kl, 3), 'nats a token from the float model']);
    list.push(['Agreement', percent(quantized.agreement), 'same first choice']);
  }
  list.push([
    'Weights',
    `${bytes(coverage.floatBytes)} → ${bytes(coverage.bytes)}`,
    `${timesSmaller(coverage.floatBytes, coverage.bytes)}, ${coverage.meanBits.toFixed(3)} bits a decoder weight`,
  ]);
  list.push([
    'Covered',
    percent(coverage.covered, 2),
    `of the blocks of ${amount(model.parameters)} parameters`,
  ]);
  list.push(['Memory', bytes(memory.peak), `${bytes(memory.promised)} promised`]);
  list.push(['Time', seconds(time), 'all stages']);
  return html`<section class="cards" aria-label="Key figures">${list.map(
    ([title, value, detail]) =>
      html`<div class="card"><p class="title">${title}</p><p class="value">${value}</p><p class="detail">${detail}</p></div>`,
  )}</section>`;
}

function warnings({ warnings: texts }: LlmResult): Html | null {
  if (texts.length === 0) return null;
  return html`<section id="warnings" class="warnings"><h2>Warnings</h2><ul>${texts.map((text) => html`<li>${text}</li>`)}</ul></section>`;
}

function accuracy({ score, distillation }: LlmResult): Html | null {
  if (!score) return null;
  const { float, quantized, text } = score;
  return html`<section id="accuracy"><h2>Accuracy</h2>
${table(
  'Accuracy',
  ['', 'Float', 'Quantized'],
  [
    ['Perplexity', significant(float.perplexity, 5), significant(quantized.perplexity, 5)],
    ['Nats a token', significant(float.nats, 5), significant(quantized.nats, 5)],
    ['Divergence, nats a token', '–', significant(quantized.kl, 4)],
    ['Same first choice', '–', percent(quantized.agreement, 2)],
  ],
)}
<p class="note">${score.recipe} ${count(text.samples)} windows of ${count(text.length)} tokens, ${count(score.scored)} predicted${score.activations ? ', activations rounded to their grids' : ', activations in float'}${score.calibrated ? '; the text that calibrated' : ''}.</p>
${distillation && html`<p>Distillation in ${count(distillation.steps)} steps took the divergence from ${significant(distillation.before, 3)} to ${significant(distillation.after, 3)} on samples that it did not learn from.</p>`}</section>`;
}

function blocks({ blocks: list, score }: LlmResult): Html {
  const scored = score?.quantized.blocks;
  return html`<section id="blocks"><h2>Blocks</h2>
<p>Error of each block's output over its power, with everything before it quantized too.</p>
${table(
  'Blocks',
  ['Block', 'While solving', ...(scored ? ['While scoring'] : []), 'Rotated', 'Time'],
  list.map(({ block, error, rotated, seconds: time }) => [
    String(block),
    significant(error, 3),
    ...(scored ? [significant(scored[block] ?? Number.NaN, 3)] : []),
    rotated ? 'yes' : 'no',
    seconds(time),
  ]),
)}</section>`;
}

function samples({ score }: LlmResult): Html | null {
  if (!score || score.samples.length === 0) return null;
  return html`<section id="samples"><h2>Samples</h2>
<p>What both models go on with, the likeliest token each time.</p>
${score.samples.map(
  ({ prompt, float, quantized }) =>
    html`<h3>${prompt}</h3>${table('Continuations', ['Float', 'Quantized'], [[float, quantized ?? '–']])}`,
)}</section>`;
}

function layers({ coverage, linears }: LlmResult): Html {
  const solved = new Map(linears.map((one) => [one.name, one]));
  return html`<section id="layers"><h2>Layers</h2>
${table(
  'Layers',
  ['Layer', 'Shape', 'Bits', 'Group', 'Solved by', 'Error', 'To nearest', 'Size'],
  coverage.layers.map(({ name, shape, bits, groupSize, reason, bytes: size }) => {
    const one = solved.get(name);
    return [
      name,
      `${shape[0]} × ${shape[1]}`,
      bits === null ? 'float' : String(bits),
      bits === null ? '–' : groupSize === 0 ? 'row' : String(groupSize),
      one ? [one.chosen, one.fallback].filter(Boolean).join('; ') : (reason ?? '–'),
      one ? significant(one.error, 3) : '–',
      one ? significant(one.errorNearest, 3) : '–',
      bytes(size),
    ];
  }),
)}
<p>Errors are those on samples that did not solve. A layer that adds to the residual stream makes up for errors before it: its error counts what it has to make up for.</p>
${coverage.uncovered.length > 0 && html`<p>In float: ${coverage.uncovered.map(({ name, reason }) => `${name} (${reason})`).join(', ')}.</p>`}</section>`;
}

function activations({ activations: found }: LlmResult): Html | null {
  if (!found) return null;
  return html`<section id="activations"><h2>Activations</h2>
<p>${count(found.tensors)} tensors have a static grid of ${found.bits} bits${found.kvBits === found.bits ? '' : ` (${found.kvBits} in the cache of keys and values)`}, ${found.symmetric ? 'symmetric' : 'asymmetric'}. Those with the least signal over noise:</p>
${table(
  'Activations',
  ['Tensor', 'Signal over noise'],
  found.lowest.map(({ name, sqnr }) => [name, decibels(sqnr)]),
)}</section>`;
}

function exports({ exports: list }: LlmResult): Html | null {
  if (list.length === 0) return null;
  return html`<section id="exports"><h2>Exports</h2>${table(
    'Exports',
    ['Format', 'Folder', 'Layers left in float', 'Notes'],
    list.map(({ format, folder, float, notes }) => [format, folder, String(float), notes.join(' ')]),
  )}</section>`;
}

function reproduce({ command, versions, digest, calibration, model, stages }: LlmResult): Html {
  return html`<section id="reproduce"><h2>Reproduce</h2>
<pre tabindex="0"><code>${command.map(shellQuote).join(' ')}</code></pre>
<p>The same model, text and settings give the same integers, whatever the number of threads.</p>
${table(
  'Digests',
  ['', ''],
  [
    ['Quantized model', digest],
    ['Model', model.sha256],
    ['Calibration tokens', calibration.sha256],
    ...Object.entries(versions),
  ],
)}
${table(
  'Stages',
  ['Stage', 'Time', 'Peak memory'],
  stages.map(({ name, seconds: time, reused, peakBytes }) => [
    name,
    reused ? 'reused' : seconds(time),
    bytes(peakBytes),
  ]),
)}</section>`;
}

function table(label: string, head: readonly string[], rows: readonly (readonly string[])[]): Html {
  return html`<div class="scroll" tabindex="0" role="region" aria-label="${label}"><table>
<thead><tr>${head.map((title) => html`<th scope="col">${title}</th>`)}</tr></thead>
<tbody>${rows.map(([first, ...rest]) => html`<tr><th scope="row">${first}</th>${rest.map((cell) => html`<td>${cell}</td>`)}</tr>`)}</tbody></table></div>`;
}
