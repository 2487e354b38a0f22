import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { CostResult } from '../../config/cost.js';
import { parseCsv } from '../../config/csv.js';
import { Graph } from '../../graph/graph.js';
import { costOnTarget } from '../../target/cost.js';
import { CostModel } from '../../target/cost-model.js';
import { loadTarget } from '../../target/target-files.js';
import { ZOO } from '../../target/zoo/index.js';
import { costCsv } from './csv.js';
import { costLines, told } from './lines.js';
import { refuseExisting, writeCost } from './output.js';
import { renderCost } from './page.js';

function result(name: string, ...targets: string[]): CostResult {
  const graph = new Graph(ZOO[name]!());
  const costs = targets.map(loadTarget).flatMap((target) => {
    const model = new CostModel(target);
    const network = model.lower(graph);
    return model.precisions.map((precision) => costOnTarget(model, network, precision));
  });
  const model = { name, path: `zoo:${name}`, macs: 1e9, parameters: 1e6, notes: [] };
  return { version: 1, dopt: '0.0.0', model, costs, warnings: [] };
}

const ssd = result('ssd-mobilenet-v2', 'kirin9020', 'ethos-u55-128');

describe('a cost in lines', () => {
  it('has totals of all, kernels and advice of INT8 on the first target, and what it rests on', () => {
    const lines = costLines(ssd, 3);
    expect(lines.filter((line) => /^(kirin9020|ethos-u55-128) /.test(line))).toHaveLength(6);
    expect(lines.find((line) => line.startsWith('Kernels'))).toBe(
      `Kernels on kirin9020 in int8, the 3 slowest of ${told(ssd).layers.length}:`,
    );
    expect(lines.some((line) => line.startsWith('1. '))).toBe(true);
    expect(lines.at(-2)).toMatch(/^Rests on assumed values; /);
    expect(lines.at(-1)).toMatch(/overhead\.layer \+\d\.\d\d %/);
    expect(costLines(ssd, 0).some((line) => line.startsWith('Kernels'))).toBe(false);
  });
});

describe('a cost as CSV', () => {
  it('has a row a kernel, target and precision', () => {
    const kind = { code: 'X', never: '', advice: '', check: '' };
    const { heads, rows } = parseCsv(costCsv(ssd), 'x.csv', kind);
    expect(rows).toHaveLength(ssd.costs.reduce((sum, { layers }) => sum + layers.length, 0));
    const column = heads.findIndex(({ text }) => text === 'ms');
    const own = rows.filter(
      ([target, precision]) => target!.text === 'kirin9020' && precision!.text === 'int8',
    );
    const total = own.reduce((sum, row) => sum + Number(row[column]!.text), 0);
    expect(total / 1000 + told(ssd).run).toBeCloseTo(told(ssd).seconds, 12);
  });
});

describe('a cost as a page', () => {
  it('is complete, the same every time, and holds every kernel', () => {
    const page = renderCost(ssd);
    expect(renderCost(ssd)).toBe(page);
    expect(page).toContain('default-src &#39;none&#39;');
    expect(page).not.toMatch(/(src|href)="(?!#)/);
    for (const id of ['totals', 'time', 'change', 'roofline', 'memory', 'kernels', 'values'])
      expect(page).toContain(`<section id="${id}"`);
    for (const { name } of told(ssd).layers) expect(page).toContain(`>${name}</th>`);
    expect(page).not.toContain('NaN');
  });

  it('escapes names, and does without charts where there is nothing to draw', () => {
    const evil = structuredClone(result('vdsr', 'kirin9000'));
    evil.model.name = '<script>alert(1)</script>';
    evil.costs[0]!.layers[0]!.name = '"><img src=x>';
    for (const cost of evil.costs) {
      cost.layers = cost.layers.slice(0, 1).map((layer) => ({ ...layer, macs: 0 }));
      cost.restsOn = [];
    }
    const page = renderCost(evil);
    expect(page).not.toContain('<script>alert');
    expect(page).not.toContain('<img');
    expect(page).not.toContain('<section id="roofline"');
    expect(page).toContain('Measurements have corrected every value');
  });

  it('is written whole, and over nothing', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'dopt-cost-report-'));
    const files = { html: join(folder, 'a.html'), csv: join(folder, 'a.csv') };
    try {
      refuseExisting(files);
      await writeCost(ssd, files);
      expect(readFileSync(files.html, 'utf8')).toBe(renderCost(ssd));
      expect(existsSync(files.csv)).toBe(true);
      expect(() => refuseExisting(files)).toThrow(/exists already/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
