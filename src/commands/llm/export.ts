import { availableParallelism } from 'node:os';
import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import type { TorchProfile } from '../../bridge/profiles.js';
import { LLM_FORMATS, type LlmFormat } from '../../bridge/protocol-llm.js';
import { BaseCommand } from '../../cli/base-command.js';
import { llmModelFlags } from '../../cli/llm-flags.js';
import type { LlmExportResult } from '../../llm/export.js';

export default class LlmExport extends BaseCommand {
  static override summary = 'write a quantized language model in another format';
  static override description =
    'Formats: compressed-tensors (transformers, vLLM), gptq, awq, gguf (llama.cpp), onnx-qdq and onnx-matmulnbits (the whole ' +
    'decoder, with a cache), aimet-encodings, ranges (16-bit scales ' +
    "beside weight-only formats), original (the original tool's files). What a format cannot carry is said.";
  static override examples = [
    '<%= config.bin %> <%= command.id %> runs/qwen --to gptq --out qwen-gptq',
    '<%= config.bin %> <%= command.id %> runs/qwen --to original --quant-param-2 --lm-head-size 152064 --out qwen-dopt',
  ];
  static override args = {
    run: Args.string({ required: true, description: 'folder of a run, or of a quantized model' }),
  };
  static override flags = {
    to: Flags.string({ required: true, options: [...LLM_FORMATS], description: 'format to write' }),
    out: Flags.string({ required: true, description: 'folder to write; must not exist' }),
    dtype: Flags.string({
      options: ['float16', 'bfloat16', 'float32'],
      description: "of what stays float (default: the model's, where it has 16 bits; float32 for original)",
    }),
    'encodings-version': Flags.string({
      options: ['1.0.0', '2.0.0'],
      description: 'of aimet-encodings (default: 1.0.0)',
    }),
    'quant-param-2': Flags.boolean({
      description: 'original: 4-bit weights as indices, for Kirin 9020 and 9030',
    }),
    'embedding-separate': Flags.boolean({
      default: true,
      allowNo: true,
      description: 'original: embedding in files of its own',
    }),
    'lm-head-size': Flags.integer({ min: 1, description: 'original: rows to pad lm_head to' }),
    profile: llmModelFlags.profile,
    env: llmModelFlags.env,
  };

  async run(): Promise<LlmExportResult> {
    const { args, flags } = await this.parse(LlmExport);
    const { exportLlm } = await import('../../llm/export.js');
    const result = await exportLlm(
      {
        from: args.run,
        format: flags.to as LlmFormat,
        out: flags.out,
        settings: {
          dtype: (flags.dtype as 'float16' | undefined) ?? null,
          encodingsVersion: (flags['encodings-version'] as '1.0.0' | undefined) ?? null,
          quantParam2: flags['quant-param-2'] ?? false,
          embeddingSeparate: flags['embedding-separate'],
          lmHeadSize: flags['lm-head-size'] ?? null,
        },
        environment: flags.env as 'venv',
        profile: (flags.profile as TorchProfile | undefined) ?? null,
        threads: availableParallelism(),
      },
      { progress: this.progressFor(flags), signal: this.signal },
    );
    for (const { path, bytes } of result.files) this.log(`${path}  ${bytes} bytes`);
    return result;
  }
}
