/**
 * Writes dist/targets/NAME.json: each profile of targets/ as it was read and checked, beside the text that it was read
 * from, so that commands need not read YAML that has not changed.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { findTarget, loadTarget, targetNames } from '../dist/target/target-files.js';

const folder = new URL('../dist/targets/', import.meta.url);
mkdirSync(folder, { recursive: true });
for (const name of targetNames()) {
  const text = readFileSync(findTarget(name), 'utf8');
  writeFileSync(new URL(`${name}.json`, folder), JSON.stringify({ text, target: loadTarget(name) }));
}
