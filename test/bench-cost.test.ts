import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT } from './helpers/cli.js';

const bench = (...args: string[]) =>
  spawnSync(process.execPath, [join(ROOT, 'node_modules/.bin/tsx'), 'test/bench/cost.ts', ...args], {
    cwd: ROOT,
    encoding: 'utf8',
    env: { ...process.env, DOPT_ASSETS: join(ROOT, 'none') },
  });

/** Mean error in per cent and rank correlation of the row of a table that begins so. */
function figures(out: string, start: string, after: string): [number, number] {
  const line = out
    .slice(out.indexOf(after))
    .split('\n')
    .find((text) => text.startsWith(`| ${start} |`));
  const [, , error, rank] = line!.split('|').map((cell) => Number.parseFloat(cell));
  return [error!, rank!];
}

describe('npm run bench:cost', () => {
  it('predicts the published times of networks that are left out better than simple rules', () => {
    const { stdout, status } = bench('--only', 'kirin9000,kirin990-5g,nasbench201');
    expect(status).toBe(0);
    for (const [precision, most, least] of [
      ['fp16', 13, 0.97],
      ['int8', 30, 0.92],
    ] as const) {
      const of = (rule: string): [number, number] => figures(stdout, rule, `| ${precision}, `);
      const [error, rank] = of('dopt');
      expect(error).toBeLessThanOrEqual(most);
      expect(rank).toBeGreaterThanOrEqual(least);
      for (const rule of ['MACs/rate', 'plain roofline']) {
        expect(of(rule)[0]).toBeGreaterThan(error);
        expect(of(rule)[1]).toBeLessThan(rank);
      }
    }
    expect(stdout).toMatch(/Not fitted: googlenet .*, yolov5s .*, vdsr .*, fsrcnn /);
    // Another chip, after one measured network.
    const other = stdout.slice(stdout.indexOf('### Kirin 990 5G'), stdout.indexOf('### NAS'));
    const errors = [...other.matchAll(/([+-]?\d+\.\d) % \|$/gm)].map(([, error]) => Math.abs(Number(error)));
    expect(errors).toHaveLength(2);
    expect(Math.max(...errors)).toBeLessThanOrEqual(15);
    expect(stdout).toMatch(/NAS-Bench-201.*\n\nSkipped: .*nasbench201_latency_27_devices\.csv is not there/);
  });

  it('says which sections there are', () => {
    expect(bench('--only', 'kirin').stderr).toMatch(/kirin is none of: kirin9000, kirin990-5g, vela/);
  });
});
