import { resolve } from 'node:path';
import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import type { Result } from '../../bridge/protocol.js';
import { BaseCommand } from '../../cli/base-command.js';
import { llmModelFlags, llmModelFrom, llmTextFlags, llmTextFrom, requireText } from '../../cli/llm-flags.js';

export default class LlmEval extends BaseCommand {
  static override summary =
    'perplexity of a language model, and how far a quantized one is from the float one';
  static override description =
    'Runs the float model and what was made of it over the same windows of a text: perplexity, divergence, share of equal ' +
    'first choices, error of each block, and what both go on with. Integers and static activations are those of the device.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> runs/qwen --data other.txt --prompt "The capital of France is"',
    '<%= config.bin %> <%= command.id %> models/qwen --data other.txt',
  ];
  static override args = {
    subject: Args.string({
      required: true,
      description: 'run folder, folder of a quantized model, or of a float one',
    }),
  };
  static override flags = {
    ...llmTextFlags,
    model: Flags.string({ description: 'the float model, where it was moved', helpGroup: 'MODEL' }),
    activations: Flags.boolean({
      default: true,
      allowNo: true,
      description: 'round activations to their grids, too',
      helpGroup: 'RUN',
    }),
    prompt: Flags.string({ multiple: true, description: 'text to go on with', helpGroup: 'DATA' }),
    'new-tokens': Flags.integer({
      default: 48,
      min: 1,
      description: 'tokens to go on with',
      helpGroup: 'DATA',
    }),
    ...llmModelFlags,
  };

  async run(): Promise<Result<'llmEvaluate'>> {
    const { args, flags } = await this.parse(LlmEval);
    const { evaluateLlm, subjectOf } = await import('../../llm/evaluate.js');
    const { scoreLines } = await import('../../llm/score-lines.js');
    const text = llmTextFrom(flags);
    requireText(text.files);
    const result = await evaluateLlm(
      {
        ...llmModelFrom('.', flags),
        subject: subjectOf(args.subject, flags.model === undefined ? null : resolve(flags.model)),
        text,
        activations: flags.activations,
        prompts: flags.prompt ?? [],
        newTokens: flags['new-tokens'],
      },
      { progress: this.progressFor(flags), signal: this.signal },
    );
    this.log(scoreLines(result));
    return result;
  }
}
