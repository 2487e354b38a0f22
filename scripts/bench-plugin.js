#!/usr/bin/env node
// `npm run bench:plugin`: a training step of the plug-in beside a float one, in the product's own torch environment.
import { join } from 'node:path';
import { askDopt, root, run, runNode } from './setup.js';

const find = () =>
  askDopt(['env', 'list']).environments.find((one) => one.profile === 'torch' && one.current);
if (!find()) runNode(['bin/run.js', 'env', 'create', 'torch']);
run(find().python, [join(root, 'python/bench/plugin_step.py')]);
