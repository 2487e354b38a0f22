import type { Preprocess } from '../config/data.js';
import type { ImageMetric } from '../config/metric.js';
import type { TaskResult } from '../config/verification.js';
import { UserError } from '../errors.js';
import { clamp, roundHalfEven } from '../native/fallback/rounding.js';
import { notFinite } from './not-finite.js';
import { type Picture, readPicture } from './picture.js';
import { type Figure, type Outputs, pickOutput, type Statistic, scoresOf, type TaskScorer } from './task.js';
import type { Values } from './tensors.js';

const PSNR: Figure = { name: 'PSNR', unit: 'dB', better: 'higher' };

/** What equal pictures count as; their PSNR has no bound. */
const MOST = 100;

/** Peak signal-to-noise ratio of image-to-image networks against reference pictures, the mean over the pictures. */
export class ImageScorer implements TaskScorer {
  private readonly float: number[] = [];
  private readonly quantized: number[] = [];

  /**
   * @param frame how the network takes pictures: its output is laid out alike
   * @param files one reference picture a sample
   */
  constructor(
    private readonly metric: ImageMetric,
    private readonly frame: Pick<Preprocess, 'layout' | 'color'>,
    private readonly files: readonly string[],
  ) {}

  add(sample: number, float: Outputs, quantized: Outputs): void {
    const file = this.files[sample]!;
    const reference = readPicture(file);
    const scored = (outputs: Outputs, model: string): number => {
      const output = pickOutput(outputs, this.metric.output);
      const value = psnr(pixelsOf(output, this.metric, this.frame), reference, this.metric, file);
      if (Number.isNaN(value)) throw notFinite(model, file);
      return value;
    };
    this.float.push(scored(float, 'float'));
    this.quantized.push(scored(quantized, 'quantized'));
  }

  result(): TaskResult | null {
    const samples = this.float.length;
    const scores = scoresOf([PSNR], samples, meanOf(this.float), meanOf(this.quantized));
    return scores.length > 0 ? { kind: 'image', against: 'labels', samples, scores } : null;
  }
}

const meanOf =
  (values: readonly number[]): Statistic =>
  (counts) => {
    let sum = 0;
    let total = 0;
    values.forEach((value, i) => {
      sum += counts[i]! * value;
      total += counts[i]!;
    });
    return [sum / total];
  };

/** An output as a picture with values of 0 to 255, rounded as a file of 8 bits would be; colours in the order RGB. */
export function pixelsOf(
  { data, shape }: Values,
  { range }: Pick<ImageMetric, 'range'>,
  { layout, color }: Pick<Preprocess, 'layout' | 'color'>,
): Picture {
  const [channels, height, width] = (layout === 'nchw' ? shape.slice(1) : [shape[3], shape[1], shape[2]]) as [
    number,
    number,
    number,
  ];
  if (shape.length !== 4 || shape[0] !== 1 || (channels !== 1 && channels !== 3)) {
    const wanted = layout === 'nchw' ? '[1, 1 or 3, H, W]' : '[1, H, W, 1 or 3]';
    throw new UserError('METRIC_OUTPUT', `A picture is ${wanted}; the output is [${shape.join(', ')}].`, {
      suggestions: ['Check metric.output in the recipe, and --layout.'],
    });
  }
  const [black, white] = range;
  const pixels = height * width;
  const values = new Float64Array(data.length);
  for (let p = 0; p < pixels; p++) {
    for (let c = 0; c < channels; c++) {
      const value = data[layout === 'nchw' ? c * pixels + p : p * channels + c]!;
      const target = color === 'bgr' ? channels - 1 - c : c;
      const level = ((value - black) / (white - black)) * 255;
      values[p * channels + target] = Number.isNaN(level) ? level : roundHalfEven(clamp(level, 0, 255));
    }
  }
  return { height, width, channels, values };
}

/**
 * 10 · log10(255² / mean squared error) over all pixels and channels, at most 100 dB; NaN where a value is.
 * @throws UserError METRIC_REFERENCE when the two pictures do not fit together
 */
export function psnr(
  output: Picture,
  reference: Picture,
  { border, channel }: Pick<ImageMetric, 'border' | 'channel'>,
  place: string,
): number {
  const { height, width } = output;
  const inner = [height - 2 * border, width - 2 * border];
  const fits = reference.height === height && reference.width === width && inner.every((side) => side > 0);
  if (!fits || output.channels > reference.channels) {
    const text = (picture: Picture): string => `${picture.height} x ${picture.width} x ${picture.channels}`;
    throw new UserError('METRIC_REFERENCE', `The reference ${place} does not fit the network's output.`, {
      place,
      expected: `a picture of ${text(output)}${fits ? '' : ` that is larger than twice the border of ${border}`}`,
      found: text(reference),
      suggestions: ['References have the size and the channels of the output.'],
    });
  }
  const luma = channel === 'luma';
  const [a, b] =
    luma || output.channels < reference.channels
      ? [brightness(output, luma), brightness(reference, luma)]
      : [output.values, reference.values];
  const channels = a.length / (height * width);
  let squares = 0;
  for (let y = border; y < height - border; y++) {
    const row = y * width;
    for (let i = (row + border) * channels; i < (row + width - border) * channels; i++) {
      squares += (a[i]! - b[i]!) ** 2;
    }
  }
  const count = inner[0]! * inner[1]! * channels;
  const error = squares / count;
  return error === 0 ? MOST : Math.min(MOST, 10 * Math.log10(255 ** 2 / error));
}

/** One value a pixel: the picture's own where it has one channel, else the luma. */
function brightness({ channels, values }: Picture, studio: boolean): Float64Array {
  if (channels === 1) return values;
  return Float64Array.from({ length: values.length / 3 }, (_, p) => {
    const [r, g, b] = [values[3 * p]!, values[3 * p + 1]!, values[3 * p + 2]!];
    // ITU-R BT.601: in 16 to 235, or in 0 to 255 as gray pictures are made.
    if (studio) return 16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255;
    return roundHalfEven(0.299 * r + 0.587 * g + 0.114 * b);
  });
}
