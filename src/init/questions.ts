import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import type { Preprocess } from '../config/data.js';
import { nearMatches } from '../graph/near-match.js';

/** A question with a sensible answer. */
export interface Question {
  text: string;
  usual: string;
  /** Answers that are understood; others need `reads`. */
  choices: readonly string[];
  /** Whether another answer is understood. */
  reads?: (answer: string) => boolean;
}

/** Answers a question. */
export type Ask = (question: Question) => Promise<string>;

/** Takes what is usual. */
export const askNobody: Ask = async ({ usual }) => usual;

/** Asks on a terminal, or a pipe; an empty line, or the end of the input, takes what is usual. */
export function askPeople(input: Readable, say: (line: string) => void): { ask: Ask; close: () => void } {
  const lines = createInterface({ input });
  const answers = lines[Symbol.asyncIterator]();
  const ask: Ask = async (question) => {
    const { text, usual, choices, reads } = question;
    say(`${text} (${choices.join(', ')}) [${usual}]`);
    for (;;) {
      const { value, done } = await answers.next();
      const answer = done ? '' : String(value).trim();
      if (answer === '') return usual;
      if (choices.includes(answer) || reads?.(answer)) return answer;
      const near = nearMatches(answer, choices, 1)[0];
      say(
        near
          ? `Did you mean ${near}? Answer again, or leave it empty for ${usual}.`
          : `One of: ${choices.join(', ')}`,
      );
    }
  };
  return { ask, close: () => lines.close() };
}

const IMAGENET = { mean: [123.675, 116.28, 103.53], std: [58.395, 57.12, 57.375] };

/** Usual ways to scale pictures, by what a tensor then holds. */
const SCALES: Readonly<Record<string, Pick<Preprocess, 'mean' | 'std'>>> = {
  imagenet: IMAGENET,
  '-1..1': { mean: 127.5, std: 127.5 },
  '0..1': { mean: 0, std: 255 },
  '0..255': { mean: 0, std: 1 },
};

const NUMBERS = /^([\d.,]+)\s+([\d.,]+)$/;

/** Asks what no file says of a picture: the order of colours, and the scale. */
export async function askPreprocess(preprocess: Preprocess, ask: Ask): Promise<Preprocess> {
  const { color, mean, std } = preprocess;
  const gray = color === 'gray';
  const order = gray
    ? 'gray'
    : await ask({
        text: 'Order of the colours that it was trained with?',
        usual: color,
        choices: ['rgb', 'bgr'],
      });
  const usual = `${[mean].flat().join(',')} ${[std].flat().join(',')}`;
  const scale = await ask({
    text: 'Mean and deviation of 0..255 values, as "mean std", or what its input holds?',
    usual,
    choices: Object.keys(SCALES).filter((name) => !gray || name !== 'imagenet'),
    reads: (answer) => NUMBERS.test(answer),
  });
  const [, first = '', second = ''] = NUMBERS.exec(scale) ?? [];
  const numbers = (text: string): number | number[] => {
    const values = text.split(',').map(Number);
    return values.length === 1 ? values[0]! : values;
  };
  const scaled = SCALES[scale] ?? { mean: numbers(first), std: numbers(second) };
  return { ...preprocess, color: order as 'rgb', ...scaled };
}
