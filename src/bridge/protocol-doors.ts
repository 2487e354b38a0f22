import { z } from 'zod';
import { dataSourceSchema, preprocessSchema } from '../config/data.js';
import { paritySchema } from '../config/verification.js';
import { arrayFilesSchema, fileSchema, method } from './protocol-method.js';

/** The part of the protocol that is about models of other frameworks (python/dopt/doors). */

/** A model in its own framework, as the user gave it. */
export const frameworkModelSchema = z.strictObject({
  framework: z.enum(['tensorflow', 'pytorch']),
  /** TensorFlow: frozen `.pb`, SavedModel folder or Keras `.h5`. PyTorch: `.py` that defines the network, or TorchScript. */
  model: z.string(),
  /** PyTorch: `.pth`, `.pt` or `.th` beside a `.py`; null otherwise. */
  weights: z.string().nullable(),
  /** Class or function in the `.py` that makes the network; null when there is only one. */
  className: z.string().nullable(),
  /** Fixed shapes for inputs, by name. */
  inputShapes: z.record(z.string(), z.array(z.number().int().positive())),
  /** Tensors that the network ends at; null keeps its own outputs. */
  outputs: z.array(z.string()).nullable(),
  /** TensorFlow: whether Python code inside of the file (Lambda layers of a Keras `.h5`) may be executed. */
  trustCode: z.boolean(),
});

/** A tensor at the network's border by its two names. */
export const borderSchema = z.strictObject({
  /** In the ONNX form. */
  name: z.string(),
  /** In the framework: `node:0` in TensorFlow, the argument of forward() or the position of the result in PyTorch. */
  frameworkName: z.string(),
});

export const DOOR_METHODS = {
  /**
   * Converts a TensorFlow or PyTorch model to ONNX (opset 13, batch normalization kept) and compares both on random
   * inputs. Rejects with PARITY_FAILED, naming the tensor that differs first, when they do not agree.
   */
  convert: method(
    z.strictObject({
      ...frameworkModelSchema.shape,
      /** Folder for model.onnx. */
      out: z.string(),
      seed: z.number().int(),
    }),
    z.strictObject({
      model: z.string(),
      inputs: z.array(borderSchema),
      outputs: z.array(borderSchema),
      /** Part of the model that ONNX cannot express and that feeds the rest; null when there is none. */
      frontEnd: z
        .strictObject({
          /** What the front end takes: the bytes of a wav file, or samples as the input of any network. */
          takes: z.enum(['wav', 'samples']),
          /** TensorFlow names of its input and of the features that it makes. */
          input: z.string(),
          features: z.string(),
          description: z.string(),
        })
        .nullable(),
      notes: z.array(z.string()),
      /** Tensors that layers read where others have weights, and that are computed: the framework's file has no place for them. */
      computedWeights: z.array(z.string()),
      parity: paritySchema,
      /** Of the framework, and of the converter. */
      versions: z.record(z.string(), z.string()),
      /** Of reading, conversion and comparison; the import of the framework is apart. */
      seconds: z.number(),
      importSeconds: z.number(),
      peakBytes: z.number(),
      /** Digest over the model file or folder, and over the weights. */
      source: fileSchema,
    }),
  ),

  /** Compares the framework with the ONNX form on real samples; rejects as `convert` does. */
  checkParity: method(
    z.strictObject({
      ...frameworkModelSchema.shape,
      onnx: z.string(),
      borders: z.strictObject({ inputs: z.array(borderSchema), outputs: z.array(borderSchema) }),
      source: dataSourceSchema,
    }),
    paritySchema,
  ),

  /** Runs files or samples through the front end of a TensorFlow model: one `.npy` for each, at the same relative path. */
  computeFeatures: method(
    z.strictObject({
      ...frameworkModelSchema.shape,
      frontEnd: z.strictObject({
        takes: z.enum(['wav', 'samples']),
        input: z.string(),
        features: z.string(),
      }),
      /** Folder of wav files, with sub-folders; or samples in any form that data comes in, read with `preprocess`. */
      data: z.string(),
      preprocess: preprocessSchema,
      skipBad: z.boolean(),
      out: z.string(),
    }),
    z.strictObject({
      /** Paths of the inputs below `data`, or names of the samples, that have features. */
      names: z.array(z.string()),
      skipped: z.array(z.strictObject({ file: z.string(), reason: z.string() })),
    }),
  ),

  /** Runs models of one framework over samples, one after the other, and writes their outputs. */
  runFramework: method(
    z.strictObject({
      /** The float model and what was written back: with the same borders. */
      models: z.array(frameworkModelSchema).min(1),
      borders: z.strictObject({ inputs: z.array(borderSchema), outputs: z.array(borderSchema) }),
      source: dataSourceSchema,
      out: z.string(),
    }),
    z.strictObject({
      /** One a model. */
      runs: z.array(
        z.strictObject({
          /** By output name of the ONNX form, with a batch dimension. */
          samples: z.array(z.strictObject({ name: z.string(), tensors: arrayFilesSchema })),
          skipped: z.array(z.strictObject({ file: z.string(), reason: z.string() })),
          executor: z.string(),
          seconds: z.number(),
        }),
      ),
    }),
  ),

  /**
   * Carries a write-back.json (src/config/write-back.ts) into the model's own format. Rejects with WRITE_BACK_UNMAPPED
   * when a layer of the ONNX form has no counterpart.
   */
  writeBack: method(
    z.strictObject({
      ...frameworkModelSchema.shape,
      borders: z.strictObject({ inputs: z.array(borderSchema), outputs: z.array(borderSchema) }),
      /** float.onnx of `capture`, whose names write-back.json uses, and the safetensors file with the numbers. */
      onnx: z.string(),
      writeBack: z.string(),
      parameters: z.string(),
      /** The file to write: `.pb` or `.pth`. */
      out: z.string(),
      /**
       * TensorFlow: a second file, which quantizes activations too, with primitive operators that reproduce ONNX
       * arithmetic; null for none.
       */
      fakeQuantOut: z.string().nullable(),
    }),
    z.strictObject({
      files: z.array(fileSchema),
      notes: z.array(z.string()),
      /** Activations that the written file does not quantize, with the reason. */
      unmapped: z.array(z.strictObject({ tensor: z.string(), reason: z.string() })),
    }),
  ),
} as const;
