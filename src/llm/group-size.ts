import { UserError } from '../errors.js';

/** Group sizes that devices and formats know. */
export const GROUP_SIZES = [32, 64, 128, 256] as const;
/** Tried in this order where nothing was asked for. */
const USUAL = [128, 64, 32];

/** The group size of a layer that nothing was said of: 128, or 64, or 32, or a row, whichever first divides its inputs. */
export const usualGroupSize = (inputs: number): number =>
  USUAL.find((size) => inputs % size === 0 && size < inputs) ?? 0;

/** Of GROUP_SIZES, those that divide all of these numbers of inputs. */
export const groupsThatDivide = (inputs: Iterable<number>): number[] => {
  const all = [...inputs];
  return GROUP_SIZES.filter((size) => all.every((count) => count % size === 0));
};

/**
 * The error for layers whose inputs a group size does not divide: nothing is padded silently, since a device would have to
 * know of it.
 */
export function groupSizeError(
  size: number,
  wrong: readonly { name: string; inputs: number }[],
  all: readonly number[],
): UserError {
  const first = wrong[0]!;
  const others = wrong.length > 1 ? ` and of ${wrong.length - 1} more` : '';
  const fitting = groupsThatDivide(all);
  const own = groupsThatDivide([first.inputs]);
  return new UserError(
    'LLM_GROUP_SIZE',
    `Groups of ${size} do not divide the ${first.inputs} inputs of ${first.name}${others}.`,
    {
      place: first.name,
      expected:
        fitting.length > 0
          ? `a size that divides all layers: ${fitting.join(', ')}, or channel (a scale a row)`
          : 'channel (a scale a row): none of 32, 64, 128, 256 divides the inputs of all layers',
      found: String(size),
      suggestions: [
        'Leave --group-size out: each layer gets the largest of 128, 64 and 32 that divides its inputs.',
        ...(own.length > 0
          ? [`Give this layer another size in dopt_config.json: ${own.join(', ')} divide its inputs.`]
          : []),
      ],
    },
  );
}
