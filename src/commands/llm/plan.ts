import * as Args from '@oclif/core/args';
import { BaseCommand } from '../../cli/base-command.js';
import {
  llmModelFlags,
  llmOptionsFrom,
  llmTextFlags,
  llmWidthFlags,
  llmWorkFlags,
} from '../../cli/llm-flags.js';
import type { LlmPlan } from '../../llm/plan.js';

export default class LlmPlanCommand extends BaseCommand {
  static override summary = 'what would become of each layer of a language model, and what it would take';
  static override description =
    'Reads the configuration and the shapes of the weights, not the weights. Shows every kind of layer with its width, ' +
    'size and time, the share of the model that is covered, and the memory that a run would need, with --data for no more samples than the text has. Writes nothing.';
  static override examples = ['<%= config.bin %> <%= command.id %> models/qwen --group-size 64 --memory 8G'];
  static override args = {
    model: Args.string({ required: true, description: 'folder with config.json and safetensors' }),
  };
  static override flags = { ...llmWidthFlags, ...llmTextFlags, ...llmWorkFlags, ...llmModelFlags };

  async run(): Promise<LlmPlan> {
    const { args, flags } = await this.parse(LlmPlanCommand);
    const { planLlm, planTable } = await import('../../llm/plan.js');
    const plan = await planLlm(await llmOptionsFrom(args.model, '.', flags), {
      progress: this.progressFor(flags),
      signal: this.signal,
    });
    this.log(planTable(plan));
    return plan;
  }
}
