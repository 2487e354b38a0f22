import { resolve } from 'node:path';
import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import type { LlmFormat } from '../../bridge/protocol-llm.js';
import { BaseCommand } from '../../cli/base-command.js';
import {
  llmFormatFlag,
  llmModelFlags,
  llmOptionsFrom,
  llmTextFlags,
  llmWidthFlags,
  llmWorkFlags,
  requireText,
} from '../../cli/llm-flags.js';
import type { LlmResult } from '../../config/llm-result.js';

export default class LlmQuantize extends BaseCommand {
  static override summary = 'quantize a language model: 4-bit weights, 16-bit activations';
  static override description =
    'Takes a folder as transformers saves it, calibrates on text, solves the weights block by block within a stated memory, ' +
    'measures static ranges of activations, scores the result, and writes the quantized model with report.html into a run ' +
    'folder. A run that was interrupted goes on behind its last finished block with --resume.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> models/qwen --data text.txt --verify-data other.txt --export gguf --out runs/qwen',
    '<%= config.bin %> <%= command.id %> models/qwen --data chat.json --group-size 64 --memory 8G --export gptq --export awq --out runs/qwen-chat',
  ];
  static override args = {
    model: Args.string({ required: true, description: 'folder with config.json and safetensors' }),
  };
  static override flags = {
    ...llmTextFlags,
    'verify-data': Flags.string({
      multiple: true,
      description: 'text that scores the result',
      helpGroup: 'DATA',
    }),
    'verify-samples': Flags.integer({
      min: 1,
      description: 'samples that score (default: 32)',
      helpGroup: 'DATA',
    }),
    prompt: Flags.string({
      multiple: true,
      description: 'text that both models go on with',
      helpGroup: 'DATA',
    }),
    ...llmWidthFlags,
    ...llmWorkFlags,
    distil: Flags.boolean({
      default: false,
      description: 'train scales and norms towards the float model',
      helpGroup: 'RUN',
    }),
    'dry-run': Flags.boolean({ default: false, description: 'show the plan and stop', helpGroup: 'RUN' }),
    verify: Flags.boolean({
      default: true,
      allowNo: true,
      description: 'score the result',
      helpGroup: 'RUN',
    }),
    resume: Flags.boolean({ default: false, description: 'go on with an interrupted run', helpGroup: 'RUN' }),
    ...llmModelFlags,
    export: llmFormatFlag('also write in this format'),
    out: Flags.string({ required: true, description: 'run folder', helpGroup: 'RESULT' }),
  };

  async run(): Promise<LlmResult | Awaited<ReturnType<typeof import('../../llm/plan.js').planLlm>>> {
    const { args, flags } = await this.parse(LlmQuantize);
    const options = await llmOptionsFrom(args.model, flags.out, flags);
    const context = { progress: this.progressFor(flags), signal: this.signal };
    if (flags['dry-run']) {
      const { planLlm, planTable } = await import('../../llm/plan.js');
      const plan = await planLlm(options, context);
      this.log(planTable(plan));
      return plan;
    }
    requireText(options.calibration.files);
    const { quantizeLlm } = await import('../../llm/quantize.js');
    const { summarizeLlm } = await import('../../llm/summary.js');
    const { usualDistillation } = await import('../../llm/distillation.js');
    const verifyData = flags['verify-data']?.map((file) => resolve(file));
    const result = await quantizeLlm(
      {
        ...options,
        resume: flags.resume,
        distillation: flags.distil ? usualDistillation(options.calibration) : null,
        verification: verifyData
          ? { ...options.calibration, files: verifyData, samples: flags['verify-samples'] ?? 32 }
          : null,
        verify: flags.verify,
        prompts: flags.prompt ?? [],
        exports: (flags.export ?? []) as LlmFormat[],
      },
      { ...context, command: ['dopt', 'llm', 'quantize', ...this.argv] },
    );
    this.log(summarizeLlm(result, flags.out));
    return result;
  }
}
