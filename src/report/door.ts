import { toNumber } from '../config/common.js';
import type { RunResult } from '../config/result.js';
import type { DoorResult, OutputComparison, Parity } from '../config/verification.js';
import { decibels, plural } from './format.js';
import { type Html, html } from './html.js';
import { scoreTable } from './score-table.js';
import { agreementText } from './summary.js';

/** The model in its own framework: conversion, write-back, and what the framework says of both. */
export function doorSection({ result }: { result: RunResult }): Html | null {
  const { door } = result;
  if (!door) return null;
  const { framework, versions, parity, frontEnd, notes, unmapped, unwritten, check } = door;
  const rows: [string, string][] = [
    [
      'Framework',
      `${framework} (${Object.entries(versions)
        .map((entry) => entry.join(' '))
        .join(', ')})`,
    ],
    ['ONNX form, random inputs', parityText(parity.random)],
    ...(parity.samples ? [['ONNX form, real samples', parityText(parity.samples)] as [string, string]] : []),
    ...(frontEnd
      ? [['Begins at', `${frontEnd.features}, made by ${frontEnd.description}`] as [string, string]]
      : []),
  ];
  return html`<section id="framework"><h2>In ${framework}</h2><dl class="facts">${rows.map(
    ([term, value]) => html`<div><dt>${term}</dt><dd>${value}</dd></div>`,
  )}</dl>
${unwritten && html`<p>There is no file in the format of ${framework}; the ONNX model is whole. ${unwritten}</p>`}
${check && checked(check)}
${unmapped.length > 0 && html`<p>The written-back file does not quantize:</p><ul>${unmapped.map(({ tensor, reason }) => html`<li><span class="name">${tensor}</span>: ${reason}</li>`)}</ul>`}
${notes.length > 0 && html`<details><summary>Notes (${notes.length})</summary><ul>${notes.map((note) => html`<li>${note}</li>`)}</ul></details>`}
</section>`;
}

function checked({ task, samples, outputs, againstOnnx, executor }: NonNullable<DoorResult['check']>): Html {
  return html`${task && scoreTable(task, `Task metric in ${executor}`)}
<div class="scroll" tabindex="0" role="region" aria-label="The written-back model"><table>
<caption>The written-back model in ${executor}, ${plural(samples, 'sample')}</caption>
<thead><tr><th scope="col">Output</th><th scope="col">Against</th><th scope="col" class="n">SQNR</th><th scope="col" class="n">Agreement</th></tr></thead>
<tbody>${outputs.map((output) => row(output, 'the float model'))}${againstOnnx.map((output) => row(output, 'the quantized ONNX model'))}</tbody></table></div>`;
}

const row = ({ name, similarity, agreement }: OutputComparison, against: string): Html =>
  html`<tr><th scope="row" class="name">${name}</th><td>${against}</td><td class="n">${decibels(toNumber(similarity.sqnr))}</td><td class="n">${agreementText(agreement)}</td></tr>`;

const parityText = ({ maxRelativeDifference, maxAbsoluteDifference, samples, executor }: Parity): string =>
  maxAbsoluteDifference === 0
    ? `the same numbers (${executor}, ${plural(samples, 'sample')})`
    : `differs by at most ${maxRelativeDifference.toExponential(1)} of the largest value, ${maxAbsoluteDifference.toExponential(1)} absolute (${executor}, ${plural(samples, 'sample')})`;
