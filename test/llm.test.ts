import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { llmArtifactSchema } from '../src/config/llm-artifact.js';
import { llmResultSchema } from '../src/config/llm-result.js';
import { EXIT } from '../src/errors.js';
import { readSafetensors } from '../src/graph/safetensors.js';
import { dopt, inFolder, printedError } from './helpers/cli.js';
import { writeLanguageModel, writeTokens } from './helpers/language-model.js';

it('quantizes a language model, goes on with a finished run, and writes it for others', () =>
  inFolder(async (folder) => {
    const model = writeLanguageModel(join(folder, 'model'));
    const tokens = writeTokens(join(folder, 'tokens.npy'), 4096);
    const out = join(folder, 'run');
    const run = [
      'llm',
      'quantize',
      model,
      '--data',
      tokens,
      '--samples',
      '16',
      '--length',
      '64',
      '--profile',
      'torch',
    ];
    run.push('--effort', 'fast', '--verify-samples', '4', '--out', out, '--json');
    const layers = join(folder, 'dopt_config.json');
    writeFileSync(layers, '{"*.down_proj": {"weight": {"bit": 8}}}');
    const first = await dopt([...run, '--dopt-config', layers]);
    expect(first.code, first.err).toBe(EXIT.ok);
    const result = llmResultSchema.parse(JSON.parse(first.out));
    expect(JSON.parse(readFileSync(join(out, 'result.json'), 'utf8'))).toMatchObject({
      digest: result.digest,
    });
    expect(result.coverage.covered).toBe(1);
    expect(result.linears).toHaveLength(15);
    expect(result.linears.every(({ error }) => error < 0.2)).toBe(true);
    expect(result.score!.quantized.kl).toBeGreaterThan(0);
    expect(result.score!.quantized.agreement).toBeGreaterThan(0.5);
    const index = llmArtifactSchema.parse(
      JSON.parse(readFileSync(join(out, 'quantized/index.json'), 'utf8')),
    );
    expect(index.linears.filter(({ name }) => name.endsWith('down_proj')).map(({ bits }) => bits)).toEqual([
      8, 8,
    ]);
    expect(readFileSync(join(out, 'report.html'), 'utf8')).toContain('model.layers.1.mlp.down_proj');

    const again = await dopt([...run, '--dopt-config', layers, '--resume']);
    expect(again.code, again.err).toBe(EXIT.ok);
    const { digest, stages } = llmResultSchema.parse(JSON.parse(again.out));
    expect(digest).toBe(result.digest);
    expect(stages.find(({ name }) => name === 'weights')?.reused).toBe(true);

    const exported = join(folder, 'gptq');
    const { code, err } = await dopt([
      'llm',
      'export',
      out,
      '--to',
      'gptq',
      '--out',
      exported,
      '--profile',
      'torch',
    ]);
    expect(code, err).toBe(EXIT.ok);
    const names = [...readSafetensors(join(exported, 'model.safetensors')).keys()];
    expect(names).toContain('model.layers.0.self_attn.q_proj.qweight');
    expect(existsSync(join(exported, 'quantize_config.json'))).toBe(true);
  }));

it('says that text needs a tokenizer', () =>
  inFolder(async (folder) => {
    const model = writeLanguageModel(join(folder, 'model'));
    const text = join(folder, 'text.txt');
    writeFileSync(text, 'words '.repeat(100));
    const out = join(folder, 'run');
    const ended = await dopt([
      'llm',
      'quantize',
      model,
      '--data',
      text,
      '--profile',
      'torch',
      '--out',
      out,
      '--json',
    ]);
    expect(ended.code).toBe(EXIT.invalidInput);
    expect(printedError(ended).code).toBe('LLM_NO_TOKENIZER');
    expect(existsSync(join(out, 'result.json'))).toBe(false);
  }));

it('refuses a format that the model cannot be written in before any work', () =>
  inFolder(async (folder) => {
    const model = writeLanguageModel(join(folder, 'model'));
    const config = join(model, 'config.json');
    const settings = { ...JSON.parse(readFileSync(config, 'utf8')), hidden_act: 'mish' };
    writeFileSync(config, JSON.stringify(settings));
    const given = ['--data', writeTokens(join(folder, 'tokens.npy'), 4096), '--profile', 'torch', '--json'];
    const out = join(folder, 'run');
    const ended = await dopt(['llm', 'quantize', model, ...given, '--export', 'onnx-qdq', '--out', out]);
    expect(ended.code, ended.err).toBe(EXIT.invalidInput);
    expect(printedError(ended)).toMatchObject({
      code: 'EXPORT_ARCHITECTURE',
      message: 'ONNX: the activation function mish is not known.',
    });
    expect(existsSync(join(out, 'stages', 'weights'))).toBe(false);
  }));

it('refuses a GPU that is not there before any work, with the reason', () =>
  inFolder(async (folder) => {
    const model = writeLanguageModel(join(folder, 'model'));
    const tokens = writeTokens(join(folder, 'tokens.npy'), 4096);
    const device = ['--data', tokens, '--device', 'cuda', '--device-index', '99', '--json'];
    const out = join(folder, 'run');
    for (const command of [
      ['llm', 'eval', model, '--profile', 'torch'],
      ['quantize', join(folder, 'net.onnx'), '--out', out],
    ]) {
      const ended = await dopt([...command, ...device]);
      expect(ended.code, ended.err).toBe(EXIT.environment);
      expect(printedError(ended)).toMatchObject({
        code: 'GPU_UNAVAILABLE',
        message: expect.stringContaining('GPU 99 cannot be used: '),
      });
    }
    expect(existsSync(join(out, 'result.json'))).toBe(false);
  }));
