/**
 * How good the cost model is: the tables of docs/cost-model.md.
 *
 *   npm run bench:cost -- [--only kirin9000,kirin990-5g,vela,nasbench201,speed] [--assets DIR] [--environments DIR]
 *     [--work DIR]
 *
 * Each section stands alone; one whose data or tools are missing says so and is left out. `vela` makes environments for
 * TensorFlow and ethos-u-vela on first need; `speed` measures the built command (npm run build).
 */
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { kirin990 } from './cost/kirin990-5g.js';
import { kirin9000 } from './cost/kirin9000.js';
import { nasbench201 } from './cost/nasbench201.js';
import { type Places, type Section, Skipped } from './cost/section.js';
import { speed } from './cost/speed.js';
import { vela } from './cost/vela.js';
import { peerEnvironments } from './peers.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const SECTIONS: readonly Section[] = [kirin9000, kirin990, vela, nasbench201, speed];

const { values } = parseArgs({
  options: {
    /** Names of sections, separated by commas. */
    only: { type: 'string' },
    assets: { type: 'string', default: process.env.DOPT_ASSETS ?? join(ROOT, '../shared/assets') },
    /** Where models and what Vela makes of them are written. */
    work: { type: 'string', default: join(ROOT, 'runs/bench-cost') },
    /** Where the environment of Vela is made. */
    environments: { type: 'string', default: peerEnvironments() },
  },
});

function chosen(names: string | undefined): readonly Section[] {
  if (names === undefined) return SECTIONS;
  return names.split(',').map((name) => {
    const found = SECTIONS.find((section) => section.name === name);
    if (!found) throw new Error(`${name} is none of: ${SECTIONS.map((section) => section.name).join(', ')}`);
    return found;
  });
}

const places: Places = {
  root: ROOT,
  assets: resolve(values.assets),
  work: resolve(values.work),
  environments: resolve(values.environments),
};
for (const section of chosen(values.only)) {
  process.stderr.write(`${section.name} …\n`);
  console.log(`\n### ${section.title}\n`);
  try {
    console.log(await section.measure(places));
  } catch (error) {
    if (!(error instanceof Skipped)) throw error;
    console.log(`Skipped: ${error.message}`);
  }
}
