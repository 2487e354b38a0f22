import { EXIT, UserError } from '../errors.js';
import { nearMatches } from '../graph/near-match.js';
import { GROUP_SIZES } from '../llm/group-size.js';
import { ORIGINAL_STAGES, type OriginalStage } from '../llm/original-stages.js';

/** The original's flags that are numbers; null where they are not given. */
export interface OriginalFlags {
  stage: string;
  blockSize: number | null;
  groupSize: number | null;
  weightBits: number | null;
  activationBits: number | null;
}

/**
 * What the original's flags are called here.
 *
 * @throws UserError USAGE for a stage or size that is none, and for a size under both of its names; LLM_GROUP_OF_8_BITS for a
 *   size beside 8 bits, which the original ignored
 */
export function originalOptions({ stage, blockSize, groupSize, weightBits, activationBits }: OriginalFlags): {
  stage: OriginalStage;
  widths: { bits: number; 'group-size': string | undefined; 'activation-bits': string };
} {
  const known = ORIGINAL_STAGES.find((one) => one === stage);
  if (!known) {
    throw usage('--quant-stage', ORIGINAL_STAGES.join(', '), stage, nearMatches(stage, ORIGINAL_STAGES, 1));
  }
  if (blockSize !== null && groupSize !== null && blockSize !== groupSize) {
    throw usage('--group-size', `${blockSize}, as --block-size, which is the same`, String(groupSize), []);
  }
  const size = blockSize ?? groupSize;
  if (size !== null && size > 0 && !(GROUP_SIZES as readonly number[]).includes(size)) {
    throw usage('--block-size', `${GROUP_SIZES.join(', ')}, or -1 for a scale a row`, String(size), []);
  }
  const bits = weightBits ?? 4;
  if (bits === 8 && size !== null && size > 0) {
    throw new UserError(
      'LLM_GROUP_OF_8_BITS',
      `A group size of ${size} has no meaning for weights of 8 bits.`,
      {
        expected: 'no --block-size and no --group-size beside --w-bits 8',
        found: String(size),
        suggestions: ['Leave the size out; the original ignored it, and gave the same file for every size.'],
      },
    );
  }
  const group = size === null ? undefined : size > 0 ? String(size) : 'channel';
  return {
    stage: known,
    widths: { bits, 'group-size': group, 'activation-bits': String(activationBits ?? 16) },
  };
}

const usage = (flag: string, expected: string, found: string, near: string[]): UserError =>
  new UserError('USAGE', `${flag} cannot be read.`, {
    exitCode: EXIT.usage,
    expected,
    found,
    suggestions: near.map((one) => `Did you mean ${one}?`),
  });
