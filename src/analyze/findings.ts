import type { QuantizerAnalysis } from '../config/analysis.js';
import { toNumber } from '../config/common.js';

/** A quantizer that brings more than this part of all noise is worth a sentence of its own. */
const MUCH = 0.1;

/** A range that grew by more over the second half of the samples is not settled. */
const GROWING = 0.1;

/** The largest magnitude over the one that 99.9 % stay below: from here on two of eight bits serve one value in 1,000. */
const LONG_TAIL = 4;

/** Quantizers whose signal over noise at the outputs is below this, alone, are fatal: nothing else could mend it. */
const FATAL_DB = 10;

/** A quantizer alone above this is nothing to worry about, whatever its share. */
const HARMLESS_DB = 40;

/** What an analysis shows, in sentences, most important first. */
export function findings(quantizers: readonly QuantizerAnalysis[]): string[] {
  const byRank = [...quantizers].sort((a, b) => a.rank - b.rank);
  const sentences: string[] = [];
  for (const quantizer of byRank.filter(({ share }) => share >= MUCH)) {
    const { share, solo } = quantizer;
    const alone = Math.min(...solo.outputs.map(toNumber));
    if (alone >= HARMLESS_DB) continue;
    const fatal = alone < FATAL_DB ? ', which is fatal by itself' : '';
    sentences.push(
      `${title(quantizer)} brings ${percent(share)} of the noise (${alone.toFixed(1)} dB alone${fatal}).${advice(quantizer)}`,
    );
  }
  const tails = byRank.filter(
    ({ kind, distribution }) => kind === 'activation' && (distribution?.tail ?? 0) >= LONG_TAIL,
  );
  say(
    sentences,
    tails,
    ['has rare values far beyond the rest', 'have rare values far beyond the rest'],
    ({ distribution }) => `${distribution!.tail!.toFixed(1)} times as far as 99.9 % of them`,
  );
  const outliers = byRank.filter(({ distribution }) => (distribution?.channels.outliers.length ?? 0) > 0);
  say(
    sentences,
    outliers,
    [
      'has channels that reach many times as far as the others',
      'have channels that reach many times as far as the others',
    ],
    ({ distribution }) =>
      `channel ${distribution!.channels.outliers[0]!.channel}, ${distribution!.channels.outliers[0]!.ratio.toFixed(0)} times`,
  );
  const growing = byRank.filter(({ distribution }) => (distribution?.growth?.lastDoubling ?? 0) > GROWING);
  say(
    sentences,
    growing,
    [
      'still grew over the second half of the samples: more would help',
      'still grew over the second half of the samples: more would help',
    ],
    ({ distribution }) => `by ${percent(Math.min(distribution!.growth!.lastDoubling, 99))}`,
  );
  const dead = byRank.filter(({ distribution }) => (distribution?.channels.dead.length ?? 0) > 0);
  say(
    sentences,
    dead,
    ['has channels that are always zero', 'have channels that are always zero'],
    ({ distribution }) => `${distribution!.channels.dead.length} of ${distribution!.channels.count}`,
  );
  return sentences;
}

/** One sentence about several quantizers: how many, and the first of them with a figure. */
function say(
  sentences: string[],
  list: readonly QuantizerAnalysis[],
  [one, many]: [string, string],
  figure: (quantizer: QuantizerAnalysis) => string,
): void {
  if (list.length === 0) return;
  const shown = list.slice(0, 3).map((quantizer) => `${title(quantizer)} (${figure(quantizer)})`);
  const more = list.length > shown.length ? ` and ${list.length - shown.length} more` : '';
  sentences.push(`${shown.join(', ')}${more} ${list.length === 1 ? one : many}.`);
}

function advice({ remedies }: QuantizerAnalysis): string {
  const [best] = remedies;
  if (!best) return '';
  const flag = best.flag ? `${best.flag} ` : `${best.note}: `;
  return ` ${flag}takes ${percent(best.removes)} of it away.`;
}

const title = ({ kind, name }: QuantizerAnalysis): string =>
  kind === 'weight' ? `The weight of ${name}` : name;

const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;
