import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { manifestSchema } from '../src/config/manifest.js';
import { quantParamsSchema } from '../src/config/quant-params.js';
import { type RunResult, resultSchema } from '../src/config/result.js';
import { until } from './bridge-fake.js';
import {
  contents,
  digits,
  dopt,
  type Ended,
  eventsOf,
  printedError,
  quantizeDigits,
  type Running,
  sha256,
  stagesOf,
  startDopt,
} from './helpers/cli.js';

const RESULTS = ['model.int8.onnx', 'quant_params.json'];
const digest = (folder: string): string[] => RESULTS.map((name) => sha256(join(folder, name)));

let work: string;
let reference: string;
let first: Ended;
let result: RunResult;

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'dopt-quantize-'));
  reference = join(work, 'reference');
  first = await dopt([...quantizeDigits(reference), '--json']);
  expect(first.code, first.err + first.out).toBe(0);
  result = resultSchema.parse(JSON.parse(first.out));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

/** Waits until a run has begun a stage. */
const begun = (folder: string, stage: string): Promise<true> =>
  until(
    () => stagesOf(eventsOf(folder).at(-1) ?? [], 'stage-start').includes(stage) || undefined,
    `stage ${stage}`,
    60_000,
  );

describe('dopt quantize', () => {
  it('prints result.json with --json, and nothing else', () => {
    expect(first.err).toBe('');
    expect(result).toEqual(JSON.parse(readFileSync(join(reference, 'result.json'), 'utf8')));
    expect(result.model).toMatchObject({ name: 'model', source: { sha256: sha256(digits.model) } });
    expect(result.data).toMatchObject({
      disjoint: true,
      calibration: { samples: 16, path: digits.calibration },
      verification: { samples: 16, path: digits.test },
    });
    expect(result.stages.every(({ reused }) => !reused)).toBe(true);
  });

  it('leaves what it promises, with the digests it states', () => {
    const manifest = manifestSchema.parse(JSON.parse(readFileSync(join(reference, 'manifest.json'), 'utf8')));
    expect(manifest.state).toBe('finished');
    expect(manifest.files).toEqual(result.files);
    expect(Object.keys(result.files).sort()).toEqual([...RESULTS, 'report.html'].sort());
    for (const [name, file] of Object.entries(result.files)) {
      expect(sha256(join(reference, name)), name).toBe(file.sha256);
    }
    const left = readdirSync(reference, { recursive: true }) as string[];
    expect(left.filter((name) => /\.partial$|\.lock$/.test(name))).toEqual([]);
  });

  it('writes parameters that follow their schema and lie in their integer ranges', () => {
    const params = quantParamsSchema.parse(
      JSON.parse(readFileSync(join(reference, 'quant_params.json'), 'utf8')),
    );
    expect(new Set(params.tensors.map(({ kind }) => kind))).toEqual(
      new Set(['activation', 'weight', 'bias']),
    );
    for (const tensor of params.tensors) {
      const [low, high] = tensor.signed
        ? [-(2 ** (tensor.bits - 1)), 2 ** (tensor.bits - 1) - 1]
        : [0, 2 ** tensor.bits - 1];
      expect(tensor.zero_point.length, tensor.name).toBe(tensor.scale.length);
      for (const zero of tensor.zero_point) {
        expect(zero, tensor.name).toBeGreaterThanOrEqual(low!);
        expect(zero, tensor.name).toBeLessThanOrEqual(high!);
      }
      if (tensor.kind !== 'activation') expect(new Set(tensor.zero_point), tensor.name).toEqual(new Set([0]));
    }
  });

  it('writes a model that onnxruntime-node runs at every level of optimization', async () => {
    const { InferenceSession, Tensor } = await import('onnxruntime-node');
    for (const level of ['disabled', 'all'] as const) {
      const session = await InferenceSession.create(join(reference, 'model.int8.onnx'), {
        graphOptimizationLevel: level,
      });
      const pixels = Float32Array.from({ length: 3 * 256 }, (_, i) => (i % 17) / 17);
      const { logits } = await session.run({ image: new Tensor('float32', pixels, [3, 1, 16, 16]) });
      expect(logits!.dims).toEqual([3, 10]);
      expect((logits!.data as Float32Array).every(Number.isFinite)).toBe(true);
      await session.release();
    }
  });

  it('loses little on the shipped model', () => {
    const [output] = result.verification!.outputs;
    expect(Number(output!.similarity.sqnr)).toBeGreaterThan(25);
    const [top1] = result.verification!.task!.scores;
    expect(top1!.quantized).toBeGreaterThanOrEqual(top1!.float! - 7);
  });

  it('makes the model smaller', () => {
    expect(result.sizes.quantized).toBeLessThan(result.sizes.float * 0.7);
    expect(readFileSync(join(reference, 'report.html'), 'utf8')).toContain('</html>');
  });

  it('gives the same bytes on one thread, in another folder and with progress on the screen', async () => {
    const out = join(work, 'again');
    const again = await dopt([...quantizeDigits(out), '--threads', '1']);
    expect(again.code, again.err).toBe(0);
    expect(digest(out)).toEqual(digest(reference));
    expect(again.err).toMatch(/✓ calibrate/);
    expect(again.out).toContain(join(out, 'report.html'));
  });

  it('finds everything done with --resume on a finished run', async () => {
    const before = digest(reference);
    const { code, out, err } = await dopt([...quantizeDigits(reference), '--resume', '--json']);
    expect(code, err).toBe(0);
    const resumed = resultSchema.parse(JSON.parse(out));
    expect(resumed.stages.map(({ name }) => name)).toEqual(result.stages.map(({ name }) => name));
    expect(resumed.stages.every(({ reused }) => reused)).toBe(true);
    expect(digest(reference)).toEqual(before);
  });
});

/** Numbers in 0..1 that are the same on every machine (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

describe('a run that is killed', () => {
  const next = random(3);
  const moments = Array.from({ length: 10 }, () => next());
  let landed = 0;

  it.each(moments)('continues after kill -9 at %f of its time', async (moment) => {
    const out = join(work, `killed-${moment}`);
    const run = startDopt([...quantizeDigits(out), '--quiet']);
    const timer = setTimeout(() => run.child.kill('SIGKILL'), moment * first.seconds * 1000);
    const { signal } = await run.ended;
    clearTimeout(timer);
    if (signal === 'SIGKILL') landed += 1;
    const done = stagesOf(eventsOf(out).at(0) ?? [], 'stage-done');
    if (signal === 'SIGKILL') expect(existsSync(join(out, 'result.json'))).toBe(false);

    const resumed = await dopt([...quantizeDigits(out), '--resume', '--json']);
    expect(resumed.code, resumed.err + resumed.out).toBe(0);
    expect(digest(out)).toEqual(digest(reference));
    const events = eventsOf(out).at(-1)!;
    expect(stagesOf(events, 'stage-reused')).toEqual(expect.arrayContaining(done));
    expect(stagesOf(events, 'stage-start').filter((stage) => done.includes(stage))).toEqual([]);
    rmSync(out, { recursive: true });
  });

  it('was killed before its end most of the times', () => {
    expect(landed).toBeGreaterThanOrEqual(6);
  });

  it('continues when it was killed before its manifest was written', async () => {
    const out = join(work, 'newborn');
    mkdirSync(join(out, 'stages'), { recursive: true });
    writeFileSync(join(out, 'manifest.json.4711.partial'), '{"ver');
    const { code, err } = await dopt([...quantizeDigits(out), '--effort', 'fast', '--resume', '--quiet']);
    expect(code, err).toBe(0);
    expect(readdirSync(out).filter((name) => name.endsWith('.partial'))).toEqual([]);
  });

  it('repeats a stage whose files were changed', async () => {
    const out = join(work, 'changed');
    expect((await dopt([...quantizeDigits(out), '--quiet'])).code).toBe(0);
    writeFileSync(join(out, 'stages/observe/statistics.json'), '{}');
    expect((await dopt([...quantizeDigits(out), '--quiet', '--resume'])).code).toBe(0);
    expect(stagesOf(eventsOf(out).at(-1)!, 'stage-start')).toContain('observe');
    expect(stagesOf(eventsOf(out).at(-1)!, 'stage-reused')).toContain('capture');
    expect(digest(out)).toEqual(digest(reference));
  });
});

describe('Ctrl-C', () => {
  const interrupt = async (run: Running, out: string, stage: string): Promise<Ended> => {
    await begun(out, stage);
    // To the whole group, Python included, as a terminal does it.
    process.kill(-run.child.pid!, 'SIGINT');
    return run.ended;
  };

  it('ends with 130, names --resume, and what follows gives the same file', async () => {
    const out = join(work, 'interrupted');
    const { code, err } = await interrupt(startDopt(quantizeDigits(out), { group: true }), out, 'refine');
    expect(code, err).toBe(130);
    expect(err).toMatch(/--resume/);
    expect(err).not.toMatch(/Traceback|KeyboardInterrupt/);
    expect(existsSync(join(out, 'result.json'))).toBe(false);
    expect(JSON.parse(readFileSync(join(out, 'manifest.json'), 'utf8'))).toMatchObject({
      state: 'interrupted',
    });
    const resumed = await dopt([...quantizeDigits(out), '--quiet', '--resume']);
    expect(resumed.code, resumed.err).toBe(0);
    expect(digest(out)).toEqual(digest(reference));
  });

  it('says so as JSON', async () => {
    const out = join(work, 'interrupted-json');
    const run = startDopt([...quantizeDigits(out), '--json'], { group: true });
    const ended = await interrupt(run, out, 'observe');
    expect(ended.code).toBe(130);
    expect(printedError(ended)).toMatchObject({ code: 'INTERRUPTED' });
    expect(printedError(ended).suggestions.join()).toContain('--resume');
  });

  it('SIGTERM ends with 75', async () => {
    const out = join(work, 'terminated');
    const run = startDopt([...quantizeDigits(out), '--quiet']);
    await begun(out, 'capture');
    run.child.kill('SIGTERM');
    expect(await run.ended).toMatchObject({ code: 75 });
  });
});

describe('the run folder', () => {
  it('takes one run at a time', async () => {
    const out = join(work, 'shared');
    const running = startDopt([...quantizeDigits(out), '--quiet']);
    await begun(out, 'capture');
    for (const more of [[], ['--resume']]) {
      const second = await dopt([...quantizeDigits(out), '--json', ...more]);
      expect(second.code).toBe(3);
      expect(printedError(second)).toMatchObject({ code: 'RUN_LOCKED', place: out });
      expect(printedError(second).message).toContain(String(running.child.pid));
    }
    expect(await running.ended).toMatchObject({ code: 0 });
    expect(digest(out)).toEqual(digest(reference));
  });

  it('is not overwritten', async () => {
    const before = contents(reference);
    const again = await dopt([...quantizeDigits(reference), '--json']);
    expect(again.code).toBe(3);
    expect(printedError(again)).toMatchObject({ code: 'OUT_EXISTS', place: reference });
    expect(printedError(again).suggestions.join()).toContain('--resume');
    expect(contents(reference)).toEqual(before);
  });

  it.each([[[]], [['--resume']]])('is left alone when it is foreign %j', async (more) => {
    const out = mkdtempSync(join(work, 'foreign-'));
    writeFileSync(join(out, 'thesis.tex'), 'three years of work');
    const refused = await dopt([...quantizeDigits(out), ...more]);
    expect(refused.code).toBe(3);
    expect(refused.err).toMatch(/OUT_NOT_A_RUN/);
    expect(refused.err).toContain('thesis.tex');
    expect(readdirSync(out)).toEqual(['thesis.tex']);
  });

  it('may not be a file, lie inside the data, or be the data', async () => {
    const file = join(work, 'file');
    writeFileSync(file, 'x');
    expect(printedError(await dopt([...quantizeDigits(file), '--json'])).code).toBe('OUT_NOT_A_RUN');
    for (const out of [join(digits.calibration, 'run'), digits.test]) {
      const refused = await dopt([...quantizeDigits(out), '--json']);
      expect(refused.code).toBe(3);
      expect(printedError(refused)).toMatchObject({ code: 'OUT_INSIDE_INPUT', place: out });
    }
    expect(existsSync(join(digits.calibration, 'run'))).toBe(false);
  });
});
