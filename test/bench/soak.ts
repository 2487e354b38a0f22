/**
 * Many quantizations in one process: `npm run soak -- [RUNS]` (default 200). Fails when descriptors, processes, threads,
 * temporary files or memory grow from the second quarter of the runs to the last.
 */
import { growth, type Held, soak } from '../helpers/soak.js';

const runs = Number(process.argv[2] ?? 200);
const line = (name: string, held: Held): string =>
  `${name.padStart(4)}  ${Object.entries(held)
    .map(([key, value]) => `${key} ${value}`)
    .join('  ')}`;

const started = performance.now();
const series = await soak(runs, (run, held) => {
  if (run % 10 === 0 || run === runs - 1) console.log(line(String(run + 1), held));
});
const grown = growth(series);
console.log(`${runs} quantizations in ${((performance.now() - started) / 1000).toFixed(0)} s`);
console.log(grown.length === 0 ? 'nothing grows' : `GROWS: ${grown.join('; ')}`);
process.exitCode = grown.length === 0 ? 0 : 1;
