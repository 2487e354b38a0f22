import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { quantParamsSchema } from '../src/config/quant-params.js';
import { resultSchema } from '../src/config/result.js';
import { dopt, inFolder, quick, start } from './helpers/cli.js';

const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');
const results = (out: string): string[] =>
  ['model.int8.onnx', 'quant_params.json'].map((name) => sha256(join(out, name)));
const stagesRun = (out: string): string[] =>
  readFileSync(join(out, 'events.ndjson'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { type: string; stage?: string })
    .filter(({ type }) => type === 'stage-start')
    .map(({ stage }) => stage!);

describe('dopt quantize', () => {
  it('writes a model, its parameters, a report and the result that --json prints', () =>
    inFolder(async (folder) => {
      const out = join(folder, 'run');
      const { code, out: text } = await dopt(...quick(out), '--json');
      expect(code).toBe(0);
      const result = resultSchema.parse(JSON.parse(text));
      expect(JSON.parse(readFileSync(join(out, 'result.json'), 'utf8'))).toEqual(JSON.parse(text));
      quantParamsSchema.parse(JSON.parse(readFileSync(join(out, 'quant_params.json'), 'utf8')));
      expect(result.verification!.outputs[0]!.similarity.sqnr).toBeGreaterThan(20);
      expect(result.data.calibration.samples).toBe(24);
      expect(result.sizes.quantized).toBeLessThan(result.sizes.float * 0.7);
      expect(sha256(join(out, 'model.int8.onnx'))).toBe(result.files['model.int8.onnx']!.sha256);
      expect(readFileSync(join(out, 'report.html'), 'utf8')).toContain('</html>');
    }));

  it('gives the same bytes for the same inputs, whatever the number of threads', () =>
    inFolder(async (folder) => {
      const [a, b] = [join(folder, 'a'), join(folder, 'b')];
      expect((await dopt(...quick(a, '--threads', '1'))).code).toBe(0);
      expect((await dopt(...quick(b, '--threads', '2'))).code).toBe(0);
      expect(results(a)).toEqual(results(b));
    }));

  it('killed at ten moments and resumed, ends with the result of an undisturbed run', () =>
    inFolder(async (folder) => {
      const undisturbed = join(folder, 'undisturbed');
      const begun = performance.now();
      expect((await dopt(...quick(undisturbed))).code).toBe(0);
      const length = performance.now() - begun;
      const out = join(folder, 'killed');
      let kills = 0;
      for (let moment = 0; moment < 10; moment++) {
        const { child, end } = start(quick(out, ...(existsSync(out) ? ['--resume'] : [])));
        await Promise.race([end, sleep(length * (0.1 + 0.09 * ((moment * 7) % 10)))]);
        if (child.exitCode === null) kills++;
        child.kill('SIGKILL');
        await end;
        if (!existsSync(join(out, 'result.json'))) expect(existsSync(join(out, 'report.html'))).toBe(false);
      }
      expect(kills).toBeGreaterThan(3);
      expect((await dopt(...quick(out, '--resume'))).code).toBe(0);
      expect(results(out)).toEqual(results(undisturbed));
      // A run that is complete repeats nothing.
      const before = stagesRun(out).length;
      expect((await dopt(...quick(out, '--resume'))).code).toBe(0);
      expect(stagesRun(out)).toHaveLength(before);
    }));

  it('stops on Ctrl-C with 130, keeps its stages and goes on', () =>
    inFolder(async (folder) => {
      const out = join(folder, 'run');
      const { child, end } = start(quick(out));
      while (!existsSync(join(out, 'stages/capture/stage.json'))) await sleep(20);
      child.kill('SIGINT');
      const { code, err } = await end;
      expect(code).toBe(130);
      expect(err).toContain('--resume');
      expect(existsSync(join(out, 'result.json'))).toBe(false);
      expect((await dopt(...quick(out, '--resume'))).code).toBe(0);
      expect(stagesRun(out).filter((stage) => stage === 'capture')).toHaveLength(1);
    }));

  it('lets only one run work in a folder, and never overwrites one', () =>
    inFolder(async (folder) => {
      const out = join(folder, 'run');
      const { end } = start(quick(out));
      while (!existsSync(join(out, '.lock'))) await sleep(10);
      const second = await dopt(...quick(out, '--resume'));
      expect(second.code).toBe(3);
      expect(second.err).toContain('RUN_LOCKED');
      expect((await end).code).toBe(0);
      const model = sha256(join(out, 'model.int8.onnx'));
      const third = await dopt(...quick(out));
      expect(third.code).toBe(3);
      expect(third.err).toContain('OUT_EXISTS');
      expect(sha256(join(out, 'model.int8.onnx'))).toBe(model);
    }));
});
