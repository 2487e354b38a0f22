import { readFileSync } from 'node:fs';
import { extname } from 'node:path';
import { UserError } from '../errors.js';
import { readNpy } from './npy.js';
import { decodePng } from './png.js';

/** A class number for each pixel, row after row. */
export interface ClassMap {
  height: number;
  width: number;
  classes: ArrayLike<number>;
}

/**
 * Reads the label map of a picture: a gray or palette PNG (the palette index is the class), or a `.npy` of [H, W].
 * @throws UserError LABELS_UNREADABLE, naming the file
 */
export function readClassMap(path: string): ClassMap {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw unreadable(path, (error as Error).message);
  }
  try {
    if (extname(path).toLowerCase() !== '.npy') {
      const { height, width, samples, channels, depth } = decodePng(bytes);
      if (channels > 1) throw new Error('it has colour channels; a label map has one (gray or palette)');
      if (depth > 8) throw new Error(`it has ${depth} bits a pixel, at most 8 are read`);
      return { height, width, classes: samples };
    }
    const { shape, data } = readNpy(bytes);
    if (shape.length !== 2) throw new Error(`it is [${shape.join(', ')}], a class map is [H, W]`);
    return { height: shape[0]!, width: shape[1]!, classes: data };
  } catch (error) {
    throw unreadable(path, (error as Error).message, error);
  }
}

function unreadable(path: string, reason: string, cause?: unknown): UserError {
  return new UserError('LABELS_UNREADABLE', `Cannot read the label map ${path}: ${reason}.`, {
    place: path,
    cause,
    suggestions: ['Label maps are PNG files of one channel with 8 bits or fewer, or .npy files of integers.'],
  });
}
