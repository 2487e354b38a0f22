import { readFileSync } from 'node:fs';
import { extname } from 'node:path';
import { UserError } from '../errors.js';
import { readNpy } from './npy.js';
import { decodePng, type PngPicture } from './png.js';

/** A picture with values of 0 to 255: [height, width, channels], one channel or R, G, B. */
export interface Picture {
  height: number;
  width: number;
  channels: number;
  values: Float64Array;
}

/**
 * Reads a reference picture: a PNG, transparency left out, or a `.npy` of [H, W] or [H, W, 1 or 3] with values of 0 to 255.
 * @throws UserError LABELS_UNREADABLE, naming the file
 */
export function readPicture(path: string): Picture {
  try {
    const bytes = readFileSync(path);
    return extname(path).toLowerCase() === '.npy' ? fromArray(bytes) : fromPng(decodePng(bytes));
  } catch (error) {
    throw new UserError(
      'LABELS_UNREADABLE',
      `Cannot read the reference picture ${path}: ${(error as Error).message}.`,
      {
        place: path,
        cause: error,
        suggestions: [
          'Reference pictures are PNG files, or .npy files of [H, W, 3] with values of 0 to 255.',
        ],
      },
    );
  }
}

function fromArray(bytes: Buffer): Picture {
  const { shape, data } = readNpy(bytes);
  const [height = 0, width = 0, channels = 1] = shape;
  if (shape.length < 2 || shape.length > 3 || (channels !== 1 && channels !== 3)) {
    throw new Error(`it is [${shape.join(', ')}], a picture is [H, W] or [H, W, 3]`);
  }
  return { height, width, channels, values: Float64Array.from(data) };
}

function fromPng({ height, width, channels, depth, samples, palette }: PngPicture): Picture {
  const pixels = height * width;
  const shown = palette || channels >= 3 ? 3 : 1;
  const most = 2 ** depth - 1;
  const values = new Float64Array(pixels * shown);
  for (let p = 0; p < pixels; p++) {
    for (let c = 0; c < shown; c++) {
      values[p * shown + c] = palette
        ? palette[samples[p]! * 3 + c]!
        : (samples[p * channels + c]! * 255) / most;
    }
  }
  return { height, width, channels: shown, values };
}
