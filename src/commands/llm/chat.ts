import { resolve } from 'node:path';
import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../../cli/base-command.js';
import { llmModelFlags, llmModelFrom } from '../../cli/llm-flags.js';

const { batch: _, ...modelFlags } = llmModelFlags;

/** What was said. */
export interface Talk {
  samples: { prompt: string; text: string; float: string | null }[];
}

export default class LlmChat extends BaseCommand {
  static override summary = 'talk with a language model, for a look';
  static override description =
    'Answers each line of the input, the likeliest token each time, without a memory of the lines before. With --prompt it ' +
    'answers that and stops.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> runs/qwen --prompt "Why is the sky blue?" --float',
    '<%= config.bin %> <%= command.id %> runs/qwen',
  ];
  static override args = {
    subject: Args.string({
      required: true,
      description: 'run folder, folder of a quantized model, or of a float one',
    }),
  };
  static override flags = {
    prompt: Flags.string({ multiple: true, description: 'what to answer' }),
    model: Flags.string({ description: 'the float model, where it was moved' }),
    float: Flags.boolean({ default: false, description: 'let the float model answer, too' }),
    raw: Flags.boolean({ default: false, description: 'go on with the text, without the chat template' }),
    activations: Flags.boolean({
      default: true,
      allowNo: true,
      description: 'round activations to their grids, too',
    }),
    'new-tokens': Flags.integer({ default: 128, min: 1, description: 'tokens of an answer at most' }),
    ...modelFlags,
  };

  async run(): Promise<Talk> {
    const { args, flags } = await this.parse(LlmChat);
    const { talk } = await import('../../llm/chat.js');
    const { subjectOf } = await import('../../llm/evaluate.js');
    return talk(
      {
        ...llmModelFrom('.', flags),
        subject: subjectOf(args.subject, flags.model === undefined ? null : resolve(flags.model)),
        prompts: flags.prompt ?? null,
        float: flags.float,
        chat: !flags.raw,
        activations: flags.activations,
        newTokens: flags['new-tokens'],
      },
      { signal: this.signal, input: process.stdin, say: (line) => this.log(line) },
    );
  }
}
