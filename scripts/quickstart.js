#!/usr/bin/env node
// `npm run quickstart`: everything from a fresh clone to a quantized model and its report.
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { main, root, runNode, setUp, step } from './setup.js';

const digits = 'recipes/digits';
const out = 'runs/quickstart';

function quantize() {
  // Only ever written by this script, so a run that is there may go.
  rmSync(join(root, out), { recursive: true, force: true });
  const data = ['--data', `${digits}/data/calibration`, '--verify-data', `${digits}/data/test`];
  const labels = ['--labels', `${digits}/data/labels.txt`];
  const args = ['quantize', `${digits}/model.onnx`, '--recipe', 'digits', ...data, ...labels, '--out', out];
  console.log(`$ node bin/run.js ${args.join(' ')}\n`);
  runNode(['bin/run.js', ...args]);
}

/** What came out, from the run's own files. */
function summary() {
  const result = JSON.parse(readFileSync(join(root, out, 'result.json'), 'utf8'));
  const [score] = result.verification.task.scores;
  const kilobytes = (bytes) => `${Math.round(bytes / 1000)} kB`;
  return [
    `accuracy on ${result.verification.task.samples} pictures that calibration did not see (${score.name}):`,
    `  float  ${score.float.toFixed(2)} %   ${kilobytes(result.sizes.float)}`,
    `  INT8   ${score.quantized.toFixed(2)} %   ${kilobytes(result.sizes.quantized)}`,
    `report: ${join(root, out, 'report.html')}`,
  ].join('\n');
}

await main(() => {
  const started = performance.now();
  setUp();
  step('quantize the shipped model', quantize);
  console.log(`\n${summary()}`);
  console.log(`\nReady in ${((performance.now() - started) / 1000).toFixed(0)} s.`);
  return 0;
});
