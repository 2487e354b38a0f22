import { resolve } from 'node:path';
import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../../cli/base-command.js';
import { llmModelFlags, llmOptionsFrom, requireText } from '../../cli/llm-flags.js';
import type { StageResult } from '../../llm/original-stages.js';

const path = (description: string, required = true) =>
  Flags.string({ required, description, parse: async (value) => resolve(value) });

export default class CompatLlm extends BaseCommand {
  static override summary = 'quantize a language model with the flags and files of dopt_lm/opt_main.py';
  static override description =
    'Takes the command line of the original tool unchanged. A dopt_config.json that is not there is written and filled in ' +
    'by the same run; config.yaml has the keys of the original. The data are those of dataset.train_files.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> --model-path models/qwen --dopt-config dopt_config.json --optimize-config config.yaml --quant-stage stage1 --block-size 128 --output-dir qwen-stages',
  ];
  static override flags = {
    'model-path': path('folder of the model'),
    'dopt-config': path('dopt_config.json'),
    'optimize-config': path('config.yaml'),
    'quant-stage': Flags.string({
      required: true,
      description: 'stage1, stage2 or stage3',
      parse: async (text) => (/^[123]$/.test(text) ? `stage${text}` : text),
    }),
    'block-size': Flags.integer({ description: 'inputs that share a scale (default: 128)' }),
    'group-size': Flags.integer({ description: 'older name of --block-size' }),
    'w-bits': Flags.integer({ options: ['4', '8'], description: 'bits of weights (default: 4)' }),
    'act-bits': Flags.integer({ options: ['8', '16'], description: 'bits of activations (default: 16)' }),
    'output-dir': path('folder that the stages share'),
    data: Flags.string({
      multiple: true,
      description: 'not of the original: text instead of dataset.train_files',
    }),
    effort: Flags.string({
      options: ['preview', 'fast', 'balanced', 'best'],
      default: 'balanced',
      description: 'not of the original: how much work goes into accuracy',
    }),
    ...llmModelFlags,
  };

  async run(): Promise<StageResult> {
    const { flags } = await this.parse(CompatLlm);
    const { originalOptions } = await import('../../compat/llm.js');
    const { runStage } = await import('../../llm/original-stages.js');
    const { stage, widths } = originalOptions({
      stage: flags['quant-stage']!,
      blockSize: flags['block-size'] ?? null,
      groupSize: flags['group-size'] ?? null,
      weightBits: flags['w-bits'] ?? null,
      activationBits: flags['act-bits'] ?? null,
    });
    const { stageOptionsFrom } = await import('../../llm/from-config.js');
    const options = await llmOptionsFrom(flags['model-path']!, flags['output-dir']!, {
      ...flags,
      'dopt-config': undefined,
      ...widths,
    });
    const settings = await stageOptionsFrom(options, {
      config: flags['optimize-config']!,
      layers: flags['dopt-config']!,
      data: options.calibration.files,
    });
    if (stage !== 'stage3') requireText(settings.llm.calibration.files);
    const result = await runStage(stage, settings, {
      progress: this.progressFor(flags),
      signal: this.signal,
      command: ['dopt', 'compat', 'llm', ...this.argv],
    });
    for (const file of result.files) this.log(resolve(result.out, file));
    this.log(`${stage} was finished successfully.`);
    return result;
  }
}
