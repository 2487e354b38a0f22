import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import { EXIT, UserError } from '../errors.js';
import { nearPaths } from '../graph/near-paths.js';

/** Where a model comes from; each but `onnx` has a door (python/dopt/doors) and a profile of packages. */
export const FRAMEWORKS = ['onnx', 'tensorflow', 'pytorch'] as const;
export type Framework = (typeof FRAMEWORKS)[number];

const BY_EXTENSION: Record<string, Framework> = {
  '.onnx': 'onnx',
  '.pb': 'tensorflow',
  '.h5': 'tensorflow',
  '.hdf5': 'tensorflow',
  '.py': 'pytorch',
};

/** Files of PyTorch that hold weights, or a whole TorchScript program. */
const TORCH_FILES = new Set(['.pth', '.pt', '.th']);

/** What other formats are, with the way from them to a file that dopt takes. */
const FOREIGN: Record<string, [what: string, way: string]> = {
  '.tflite': [
    'a TensorFlow Lite model',
    'Give the frozen graph, SavedModel or .h5 that it was converted from.',
  ],
  '.keras': ['a Keras 3 archive, which TensorFlow 2.8 cannot read', 'Save it as a SavedModel or as .h5.'],
  '.ckpt': ['a checkpoint without a graph', 'Freeze it with its graph, or give a SavedModel.'],
  '.meta': ['a TensorFlow 1 meta graph', 'Freeze it with its checkpoint, or give a SavedModel.'],
  '.caffemodel': ['a Caffe model', 'Convert it to ONNX first.'],
  '.prototxt': [
    'a Caffe network or a configuration',
    'Convert the network to ONNX first; for a configuration of the original tool: dopt convert-config.',
  ],
  '.safetensors': [
    'a file of weights without a network',
    'Give the .py that defines the network, with weights saved by torch.save.',
  ],
  '.om': ['a model that is converted for the device already', 'Give the model that it was converted from.'],
  '.mindir': ['a MindSpore model', 'Export it as ONNX.'],
};

export interface ModelFiles {
  model: string;
  weights: string | null;
}

/**
 * The framework that a model belongs to, by its file.
 *
 * @param asked what the user said it is; 'auto' asks the file
 * @throws UserError MODEL_NOT_FOUND, MODEL_FORMAT, FRAMEWORK_MISMATCH, WEIGHTS_MISSING, WEIGHTS_UNUSED
 */
export function detectFramework({ model, weights }: ModelFiles, asked: Framework | 'auto'): Framework {
  const found = frameworkOf(model, asked);
  if (asked !== 'auto' && found !== asked) {
    throw new UserError('FRAMEWORK_MISMATCH', `${model} is no model of ${asked}.`, {
      exitCode: EXIT.usage,
      place: model,
      expected: asked,
      found,
      suggestions: [`Leave --framework out, or give ${found}.`],
    });
  }
  if (weights !== null) needFile(weights, 'WEIGHTS_NOT_FOUND', 'The weights');
  if (weights !== null && extname(model).toLowerCase() !== '.py') {
    throw new UserError('WEIGHTS_UNUSED', `${model} holds its weights itself.`, {
      exitCode: EXIT.usage,
      found: weights,
      suggestions: ['Leave --weights out. It belongs to a .py that defines a PyTorch network.'],
    });
  }
  if (weights === null && extname(model).toLowerCase() === '.py') {
    throw new UserError('WEIGHTS_MISSING', `${model} defines a network but holds no weights.`, {
      exitCode: EXIT.usage,
      place: model,
      suggestions: ['Give the weights: --weights FILE.pth'],
    });
  }
  return found;
}

function frameworkOf(model: string, asked: Framework | 'auto'): Framework {
  const stats = needFile(model, 'MODEL_NOT_FOUND', 'The model');
  const extension = extname(model).toLowerCase();
  if (stats.isDirectory()) {
    if (statSync(join(model, 'saved_model.pb'), { throwIfNoEntry: false })) return 'tensorflow';
    throw unknown(model, 'a folder without saved_model.pb', 'Give a model file, or a SavedModel folder.');
  }
  if (TORCH_FILES.has(extension)) {
    if (isTorchScript(model)) return 'pytorch';
    throw unknown(
      model,
      'a file of PyTorch weights',
      'Give the .py that defines the network, and this file as --weights.',
    );
  }
  const foreign = FOREIGN[extension];
  if (foreign) throw unknown(model, ...foreign);
  // A file whose name says nothing is what the user says, else ONNX; its reader finds out.
  return BY_EXTENSION[extension] ?? (asked === 'auto' ? 'onnx' : asked);
}

function needFile(path: string, code: string, what: string) {
  try {
    return statSync(path);
  } catch (cause) {
    const { code: reason } = cause as NodeJS.ErrnoException;
    const why = reason === 'ENOENT' ? 'does not exist' : `cannot be read (${reason})`;
    throw new UserError(code, `${what} ${path} ${why}.`, {
      place: path,
      cause,
      suggestions: [...nearPaths(path), 'Check the path.'],
    });
  }
}

function unknown(model: string, what: string, way: string): UserError {
  return new UserError('MODEL_FORMAT', `${model} is ${what}.`, {
    place: model,
    expected: '.onnx; .pb, .h5 or SavedModel; .py with --weights, or TorchScript',
    suggestions: [way],
  });
}

/** Bytes searched at the head of an archive for the folder of a TorchScript program. */
const HEAD = 1 << 16;

/** A zip archive that carries code: torch.jit.save writes it, torch.save does not. */
function isTorchScript(path: string): boolean {
  const file = openSync(path, 'r');
  try {
    const size = statSync(path).size;
    const read = (from: number): Buffer => {
      const bytes = Buffer.alloc(Math.min(HEAD, size - from));
      readSync(file, bytes, 0, bytes.length, from);
      return bytes;
    };
    const head = read(0);
    if (head.subarray(0, 4).toString('latin1') !== 'PK\x03\x04') return false;
    // The central directory at the end names every member.
    const tail = read(Math.max(0, size - HEAD));
    return [head, tail].some((bytes) => /\/code\/__torch__|\/constants\.pkl/.test(bytes.toString('latin1')));
  } finally {
    closeSync(file);
  }
}
