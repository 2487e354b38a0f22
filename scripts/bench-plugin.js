#!/usr/bin/env node
// `npm run bench:plugin`: a training step of the plug-in beside a float one, in the product's own environments.
import { join } from 'node:path';
import { askDopt, root, run, runNode } from './setup.js';

const find = (profile) =>
  askDopt(['env', 'list']).environments.find((one) => one.profile === profile && one.current);
for (const [profile, script] of [
  ['torch', 'plugin_step.py'],
  ['tensorflow', 'keras_step.py'],
]) {
  if (!find(profile)) runNode(['bin/run.js', 'env', 'create', profile]);
  run(find(profile).python, [join(root, 'python/bench', script)]);
}
