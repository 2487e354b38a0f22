import { UserError } from '../../errors.js';
import { Graph } from '../../graph/graph.js';
import { nearMatches } from '../../graph/near-match.js';
import { ZOO_PREFIX } from '../names.js';
import { ANY_SIZE, ZOO } from './index.js';

/** A name of the zoo, and the size of the picture where one is asked for: `yolov5s@416`, `fsrcnn@360x640`. */
const SIZED = /^(?<name>[^@]*)(?:@(?<height>\d{1,5})(?:x(?<width>\d{1,5}))?)?$/;

/**
 * A network of shapes, by its name with the prefix; `@SIZE` or `@HEIGHTxWIDTH` gives it another picture where it takes any.
 *
 * @throws UserError ZOO_UNKNOWN, ZOO_SIZE
 */
export function zooGraph(model: string): Graph {
  const { name = '', height, width } = SIZED.exec(model.slice(ZOO_PREFIX.length))?.groups ?? {};
  const make = ZOO[name];
  if (!make) {
    const names = Object.keys(ZOO).map((known) => `${ZOO_PREFIX}${known}`);
    throw new UserError('ZOO_UNKNOWN', `There is no network of shapes called ${model}.`, {
      expected: names.join(', '),
      suggestions: nearMatches(`${ZOO_PREFIX}${name}`, names, 1).map((known) => `Did you mean ${known}?`),
    });
  }
  if (height === undefined) return new Graph(make());
  const size = [Number(height), Number(width ?? height)] as const;
  const step = ANY_SIZE[name];
  if (step === undefined || size.some((side) => side < 32 || side > 8192 || side % step !== 0))
    throw wrongSize(model, name, step);
  return new Graph(make(...size));
}

function wrongSize(model: string, name: string, step: number | undefined): UserError {
  if (step === undefined)
    return new UserError('ZOO_SIZE', `${name} takes pictures of one size only, not that of ${model}.`, {
      suggestions: [
        `Ask for ${ZOO_PREFIX}${name}; these take any size: ${Object.keys(ANY_SIZE).join(', ')}.`,
      ],
    });
  return new UserError('ZOO_SIZE', `${name} does not take pictures of the size of ${model}.`, {
    expected: `sides from 32 to 8192${step > 1 ? `, multiples of ${step}` : ''}`,
  });
}
