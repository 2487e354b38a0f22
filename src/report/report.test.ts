import { describe, expect, it } from 'vitest';
import { HOSTILE, madeUpRun } from '../../test/report-input.js';
import { resultSchema } from '../config/result.js';
import { advice, suspects } from './advice.js';
import { bytes, decibels, percent, seconds, shortened, signed, significant } from './format.js';
import { escapeHtml, Html, html } from './html.js';
import { representable } from './input.js';
import { renderReport, reportInput } from './report.js';
import { scoreTable } from './score-table.js';
import { shellQuote } from './shell.js';
import type { TensorReport } from './types.js';
import { verdict } from './verdict.js';

const files = madeUpRun(60);
const input = reportInput(files);
const { result } = input;

describe('html', () => {
  it('escapes what is put in, and markup not twice', () => {
    const name = `<b>&"'`;
    const inner = html`<i title="${name}">${name}</i>`;
    const escaped = '&lt;b&gt;&amp;&quot;&#39;';
    expect(html`${inner}${[inner, 1, null, undefined, false]}`.text).toBe(
      [`<i title="${escaped}">${escaped}</i>`.repeat(2), 1].join(''),
    );
    expect(new Html('<b>').toString()).toBe('<b>');
    expect(escapeHtml('a\u0000b\n')).toBe('a\uFFFDb\n');
  });
});

describe('renderReport', () => {
  const page = renderReport(input);

  it('uses a result that fits its schema', () => {
    expect(resultSchema.parse(result)).toEqual(result);
  });

  it('is the same every time and fetches nothing', () => {
    expect(renderReport(reportInput(madeUpRun(60)))).toBe(page);
    expect(page).toContain('default-src &#39;none&#39;');
    expect(page.match(/<(link|img|iframe|script)\b[^>]*>/g)).toEqual(['<script>']);
  });

  it('lets no name become markup', () => {
    for (const name of HOSTILE.slice(0, 3)) expect(page).not.toContain(name);
    expect(page.match(/<\/script>/g)).toHaveLength(1);
    expect(page).not.toContain('\u0007');
  });

  it('says what was measured on what', () => {
    for (const text of [
      'none: no scored sample was calibrated with',
      'onnxruntime-node 1.30.0, graph optimizations disabled',
      '200 samples from /data/pictures',
      'dopt quantize &quot;detector nano.onnx&quot;',
      '3.66 MB → 1.15 MB (31 %)',
    ]) {
      expect(page).toContain(text);
    }
  });

  it('warns where scored samples were calibrated with', () => {
    const shared = madeUpRun(20, (r) => ({ ...r, data: { ...r.data, disjoint: false } }));
    expect(renderReport(reportInput(shared))).toContain('Scored and calibration samples overlap');
  });

  it('works without verification', () => {
    const plain = renderReport(reportInput(madeUpRun(20, (r) => ({ ...r, verification: null }))));
    expect(plain).toContain('its accuracy was not measured');
    expect(plain).not.toContain('id="suspects"');
  });

  it('stays below 3 MB with 500 tensors', () => {
    expect(renderReport(reportInput(madeUpRun(500))).length).toBeLessThan(1_000_000);
  });
});

describe('reportInput', () => {
  it('keeps graph order and joins all that is known of a tensor', () => {
    expect(input.tensors).toHaveLength(61);
    expect(input.tensors[0]).toMatchObject({
      name: 'images',
      producer: null,
      kind: 'input',
      weighted: false,
    });
    const jump = input.tensors[7]!;
    expect(jump).toMatchObject({ kind: 'conv', weighted: true, rule: 'mse' });
    expect(jump.measured!.blame).toBeCloseTo(0.0016, 10);
    expect(input.weights[0]).toMatchObject({ scale: { channels: 16 }, deadChannels: 1 });
  });

  it('knows what integers represent', () => {
    const param = { ...files.params.tensors[0]!, scale: [0.5, 1], zero_point: [10, 0] };
    expect(representable(param)).toEqual([-5, 255]);
    expect(representable({ ...param, signed: true, scale: [2], zero_point: [0] })).toEqual([-256, 254]);
  });
});

describe('advice', () => {
  const base: TensorReport = {
    ...input.tensors[7]!,
    name: 't',
    producer: 'conv',
    measured: { sqnr: 20, cosine: 1, ratio: 0.01, blame: 0.01 },
  };
  const withNoise = (rounding: number, clipping: number): TensorReport => ({
    ...base,
    seen: { ...base.seen!, rounding, clipping, saturated: 0.02 },
  });
  const { settings } = result;

  it('names clipping, rounding or weights, whichever explains the noise', () => {
    expect(advice(withNoise(0.001, 0.009), settings)).toEqual({
      reason: 'its clip cuts 2.0 % of the values off',
      flag: '--calibration minmax',
    });
    expect(advice(withNoise(0.009, 0), settings).flag).toBe('--exclude t');
    expect(advice(withNoise(0.001, 0), settings)).toEqual({
      reason: expect.stringContaining('the rounded weights of conv'),
      flag: '--exclude conv',
    });
    expect(advice({ ...withNoise(0.001, 0), weighted: false }, settings).reason).toContain('amplifies');
  });

  it('does not advise what is set already', () => {
    const minmax = { ...settings, calibration: 'minmax' };
    expect(advice(withNoise(0.001, 0.009), minmax).flag).toBe('--exclude t');
    expect(advice({ ...withNoise(0.009, 0), rule: 'minmax' }, minmax).flag).toBe('--calibration auto');
  });

  it('suspects the worst few, and none that are harmless', () => {
    const list = suspects(input.tensors, settings);
    expect(list).toHaveLength(5);
    const blames = list.map(({ tensor }) => tensor.measured!.blame);
    expect(blames).toEqual([...blames].sort((a, b) => b - a));
    const harmless = { ...base, measured: { ...base.measured!, blame: 1e-5 } };
    expect(suspects([harmless], settings)).toEqual([]);
  });
});

describe('scores', () => {
  it('stand with their standard errors, and marked where the difference is noise', () => {
    const html = scoreTable(result.verification!.task!).text;
    expect(html).toContain('35.63 ± 4.02 %');
    expect(html).toContain('≈ −0.51 ± 0.43');
    expect(html).toContain('−1.31 to +0.42');
    expect(html).toContain('94.10 ± 4.11 %');
    expect(html).toContain('is within what the choice of samples explains');
  });

  it('of a metric without draws have none', () => {
    const [main] = result.verification!.task!.scores;
    const bare = {
      ...main!,
      unit: '' as const,
      better: 'lower' as const,
      standardErrors: null,
      interval: null,
    };
    const html = scoreTable({ kind: 'user', against: 'nothing', samples: 3, scores: [bare] }).text;
    expect(html).toContain('AP (lower is better)');
    expect(html).toContain('without labels, 3 samples');
    expect(html).not.toContain('≈');
    expect(html).toContain('>35.63</td><td class="n">35.12</td><td class="n">−0.51</td><td class="n">–</td>');
  });
});

describe('verdict', () => {
  const judged = (change: (v: NonNullable<typeof result.verification>) => object) =>
    verdict({ ...result, verification: { ...result.verification!, ...change(result.verification!) } });
  const [main] = result.verification!.task!.scores;
  const task =
    (float: number | null, quantized: number, how: object = {}) =>
    () => ({
      task: {
        ...result.verification!.task!,
        scores: [{ ...main!, float, quantized, interval: null, ...how }],
      },
    });

  it.each([
    [35, 36, 'good'],
    [35, 34.1, 'good'],
    [35, 33, 'caution'],
    [35, 30, 'bad'],
    [null, 95, 'good'],
    [null, 50, 'bad'],
  ])('judges %s to %s as %s', (float, quantized, level) => {
    expect(judged(task(float, quantized)).level).toBe(level);
  });

  it.each([
    ['dB', 'higher', 30, 29.9, 'good'],
    ['dB', 'higher', 30, 28, 'bad'],
    ['', 'lower', 20, 20.3, 'good'],
    ['', 'lower', 20, 21, 'caution'],
    ['nats', 'lower', 2, 2.2, 'bad'],
    ['', 'higher', 0, 0, 'good'],
  ] as const)(
    'judges %j, of which %s is better, by its own scale',
    (unit, better, float, quantized, level) => {
      expect(judged(task(float, quantized, { unit, better })).level).toBe(level);
    },
  );

  it('falls back to agreement, then to SQNR', () => {
    const output = result.verification!.outputs[0]!;
    const agreement = { over: 'rows' as const, share: 0.96, count: 100, standardError: 0.02 };
    const byAgreement = judged(() => ({ task: null, outputs: [{ ...output, agreement }] }));
    expect(byAgreement).toMatchObject({
      level: 'caution',
      sentence: expect.stringContaining('96.0 % of rows'),
    });
    expect(judged(() => ({ task: null }))).toMatchObject({
      level: 'good',
      sentence: expect.stringContaining('24.3 dB'),
    });
    expect(verdict({ ...result, verification: null }).level).toBe('unknown');
  });
});

describe('formats', () => {
  it('reads as people write', () => {
    expect([bytes(0), bytes(999), bytes(1_152_476), bytes(61_200_000), bytes(null)]).toEqual([
      '0 B',
      '999 B',
      '1.15 MB',
      '61.2 MB',
      '–',
    ]);
    expect([percent(0), percent(0.31, 0), percent(0.0016), percent(1e-7)]).toEqual([
      '0 %',
      '31 %',
      '0.16 %',
      '< 0.001 %',
    ]);
    expect([signed(0.5), signed(-0.5), signed(0)]).toEqual(['+0.50', '−0.50', '0.00']);
    expect([decibels(Infinity), decibels(-3.21), decibels(Number.NaN)]).toEqual(['no noise', '−3.2 dB', '–']);
    expect([significant(-0.0123456), significant(1.5e-7), significant(0)]).toEqual([
      '−0.01235',
      '1.50e−7',
      '0',
    ]);
    expect([seconds(3.21), seconds(41.3), seconds(125)]).toEqual(['3.2 s', '41 s', '2 min 5 s']);
    expect(shortened('abcdefghijklmnop', 9)).toBe('abcd…mnop');
  });
});

describe('shellQuote', () => {
  it.each([
    ['conv/1:0', 'conv/1:0'],
    ['a b', '"a b"'],
    ["it's", `"it's"`],
    ['cost$HOME', "'cost$HOME'"],
    [`'$"`, `''\\''$"'`],
    ['', "''"],
  ])('quotes %j as %s', (word, quoted) => {
    expect(shellQuote(word)).toBe(quoted);
  });
});
