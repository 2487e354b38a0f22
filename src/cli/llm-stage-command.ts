import { resolve } from 'node:path';
import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import type { OriginalStage, StageResult } from '../llm/original-stages.js';
import { BaseCommand } from './base-command.js';
import {
  llmModelFlags,
  llmOptionsFrom,
  llmTextFlags,
  llmWidthFlags,
  llmWorkFlags,
  requireText,
} from './llm-flags.js';

const { 'dopt-config': _, 'bits-budget': __, sensitivity: ___, ...widthFlags } = llmWidthFlags;

export const llmStageArgs = {
  model: Args.string({ required: true, description: 'folder with config.json and safetensors' }),
};

export const llmStageFlags = {
  config: Flags.string({
    description: "config.yaml with the original's keys (default: its defaults)",
    helpGroup: 'RUN',
  }),
  'dopt-config': Flags.string({
    description: 'dopt_config.json; written and filled in when it is not there',
    helpGroup: 'WIDTHS',
  }),
  ...llmTextFlags,
  ...widthFlags,
  ...llmWorkFlags,
  ...llmModelFlags,
  out: Flags.string({ required: true, description: 'folder that the stages share', helpGroup: 'RESULT' }),
};

/** One of the three stages as a command. */
export abstract class LlmStageCommand extends BaseCommand {
  protected abstract readonly stage: OriginalStage;

  async run(): Promise<StageResult> {
    // Each command gives its flags and arguments itself: oclif does not see inherited ones.
    const { args, flags } = await this.parse({
      args: llmStageArgs,
      flags: llmStageFlags,
      baseFlags: BaseCommand.baseFlags,
      enableJsonFlag: true,
    });
    const { stageOptionsFrom } = await import('../llm/from-config.js');
    const { runStage } = await import('../llm/original-stages.js');
    const { 'dopt-config': layers, config, out, ...rest } = flags;
    const options = await llmOptionsFrom(args.model!, out!, rest);
    const stage = await stageOptionsFrom(options, {
      config: config === undefined ? null : resolve(config),
      layers: layers === undefined ? null : resolve(layers),
      data: options.calibration.files,
    });
    if (this.stage !== 'stage3') requireText(stage.llm.calibration.files);
    const result = await runStage(this.stage, stage, {
      progress: this.progressFor(flags),
      signal: this.signal,
      command: ['dopt', 'llm', this.stage, ...this.argv],
    });
    for (const file of result.files) this.log(resolve(result.out, file));
    return result;
  }
}
