#!/usr/bin/env node
// `npm run bench:llm -- [MODEL TEXT TEST]`: what each step of the solver is worth, in the product's own torch environment.
import { join } from 'node:path';
import { askDopt, root, run, runNode } from './setup.js';

const find = () =>
  askDopt(['env', 'list']).environments.find((one) => one.profile === 'torch' && one.current);
if (!find()) runNode(['bin/run.js', 'env', 'create', 'torch']);
run(find().python, [join(root, 'python/bench/llm_steps.py'), ...process.argv.slice(2)]);
