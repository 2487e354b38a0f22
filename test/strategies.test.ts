import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { quantParamsSchema } from '../src/config/quant-params.js';
import { resultSchema } from '../src/config/result.js';
import { digits, dopt, inFolder, printedError, quick } from './helpers/cli.js';

describe('strategy int16-8', () => {
  it('is closer to the float model than int8-8, with 16-bit activations and int8 weights', () =>
    inFolder(async (folder) => {
      const sqnr = async (strategy: string): Promise<number> => {
        const out = join(folder, strategy);
        const run = await dopt(quick(out, '--strategy', strategy, '--json'));
        expect(run.code, run.err).toBe(0);
        const result = resultSchema.parse(JSON.parse(run.out));
        expect(Object.keys(result.files)).toContain(`model.${strategy === 'int8-8' ? 'int8' : 'int16'}.onnx`);
        return Number(result.verification!.outputs[0]!.similarity.sqnr);
      };
      expect(await sqnr('int16-8')).toBeGreaterThan((await sqnr('int8-8')) + 3);
      const file = JSON.parse(readFileSync(join(folder, 'int16-8/quant_params.json'), 'utf8'));
      const { strategy, tensors } = quantParamsSchema.parse(file);
      expect(strategy).toBe('int16-8');
      const widths = new Set(tensors.map(({ kind, bits, symmetric }) => `${kind} ${bits} ${symmetric}`));
      expect([...widths].sort()).toEqual(['activation 16 true', 'bias 32 true', 'weight 8 true']);
    }));

  it('is refused by a target that has no such layers', () =>
    inFolder(async (folder) => {
      const out = join(folder, 'run');
      const run = await dopt(quick(out, '--strategy', 'int16-8', '--target', 'kirin9000', '--json'));
      expect(run.code).toBe(2);
      expect(printedError(run).code).toBe('TARGET_STRATEGY');
    }));
});

describe('--weights-granularity tensor', () => {
  it('gives each weight one scale, in a model that loads', () =>
    inFolder(async (folder) => {
      const out = join(folder, 'run');
      const run = await dopt(quick(out, '--weights-granularity', 'tensor', '--json'));
      expect(run.code, run.err).toBe(0);
      const file = JSON.parse(readFileSync(join(out, 'quant_params.json'), 'utf8'));
      const { tensors } = quantParamsSchema.parse(file);
      const weights = tensors.filter(({ kind }) => kind !== 'activation');
      expect(weights.map(({ granularity, scale }) => [granularity, scale.length])).toEqual(
        weights.map(() => ['tensor', 1]),
      );
    }));
});

describe('--int16', () => {
  it('widens some tensors, which every stage and export then takes', () =>
    inFolder(async (folder) => {
      const { out } = await dopt(['inspect', digits.model, '--json']);
      const { tensors } = JSON.parse(out) as { tensors: { name: string }[] };
      const wide = tensors.slice(1, 3).map(({ name }) => name);
      const sqnr = async (name: string, ...more: string[]): Promise<number> => {
        const run = await dopt(quick(join(folder, name), '--json', ...more));
        expect(run.code, run.err + run.out).toBe(0);
        const result = resultSchema.parse(JSON.parse(run.out));
        expect(result.quantization.int16).toBe(more.length / 2);
        return Number(result.verification!.outputs[0]!.similarity.sqnr);
      };
      const narrow = await sqnr('narrow');
      expect(await sqnr('mixed', ...wide.flatMap((tensor) => ['--int16', tensor]))).toBeGreaterThan(narrow);

      const run = join(folder, 'mixed');
      const params = quantParamsSchema.parse(
        JSON.parse(readFileSync(join(run, 'quant_params.json'), 'utf8')),
      );
      const bits = params.tensors.filter(({ kind }) => kind === 'activation');
      expect(bits.filter((tensor) => tensor.bits === 16).map(({ name }) => name)).toEqual(wide);
      for (const format of ['qdq-onnx', 'qoperator-onnx', 'float-onnx', 'aimet-encodings', 'json']) {
        const exported = await dopt(['export', run, '--to', format, '--out', join(folder, `as-${format}`)]);
        expect(exported.code, format + exported.err).toBe(0);
      }
      const { activation_encodings: encodings } = JSON.parse(
        readFileSync(join(folder, 'as-aimet-encodings'), 'utf8'),
      ) as { activation_encodings: { name: string; bw: number }[] };
      expect(encodings.filter(({ bw }) => bw === 16).map(({ name }) => name)).toEqual(wide);
    }));
});
