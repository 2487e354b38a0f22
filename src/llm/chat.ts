import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { generateLlm, type LlmGenerateOptions } from './evaluate.js';

export interface TalkOptions extends Omit<LlmGenerateOptions, 'prompts'> {
  /** null: the lines of the input. */
  prompts: string[] | null;
  /** Let the float model answer, too. */
  float: boolean;
}

/** A prompt with its answers; `float` is null where that model was not asked, or is the only one. */
export interface Answered {
  prompt: string;
  text: string;
  float: string | null;
}

/** Answers prompts, or each line of the input until it ends. Rejects as `generateLlm` does. */
export async function talk(
  options: TalkOptions,
  { signal, input, say }: { signal: AbortSignal; input: Readable; say: (line: string) => void },
): Promise<{ samples: Answered[] }> {
  if (options.prompts !== null) return { samples: await answer(options.prompts, options, signal, say) };
  const samples: Answered[] = [];
  say('A line is a message; Ctrl-D ends.');
  for await (const line of createInterface({ input, signal })) {
    if (line.trim() !== '') samples.push(...(await answer([line], options, signal, say)));
  }
  return { samples };
}

async function answer(
  prompts: string[],
  options: TalkOptions,
  signal: AbortSignal,
  say: (line: string) => void,
): Promise<Answered[]> {
  const { subject } = options;
  const own = await generateLlm({ ...options, prompts }, { signal });
  const float =
    options.float && subject.quantized !== null
      ? await generateLlm({ ...options, prompts, subject: { ...subject, quantized: null } }, { signal })
      : null;
  return own.samples.map(({ prompt, text }, index) => {
    const beside = float?.samples[index]?.text ?? null;
    say(`> ${prompt}\n${text}${beside === null ? '' : `\nfloat: ${beside}`}\n`);
    return { prompt, text, float: beside };
  });
}
