import { z } from 'zod';
import { dataSourceSchema } from '../config/data.js';
import { paritySchema } from '../config/verification.js';
import { arrayFilesSchema, fileSchema, method } from './protocol-method.js';

/** The part of the protocol that is about ONNX models and samples: reading, rewriting, writing (python/dopt/capture, apply, data). */

export const GRAPH_METHODS = {
  /** Reads a model, normalizes it and writes graph.json, float.onnx and weights.safetensors into `out`. */
  capture: method(
    z.strictObject({
      model: z.string(),
      out: z.string(),
      /** Fixed shapes for inputs, by name. */
      inputShapes: z.record(z.string(), z.array(z.number().int().positive())),
      /** Cut the graph at these tensors; null keeps the model's own outputs. */
      outputs: z.array(z.string()).nullable(),
      /** Convert float16 weights and tensors to float32. */
      float16ToFloat32: z.boolean(),
      seed: z.number().int(),
    }),
    z.strictObject({
      graph: z.string(),
      model: z.string(),
      weights: z.string(),
      opset: z.strictObject({ from: z.number().int(), to: z.number().int() }),
      irVersion: z.number().int(),
      /** What normalization changed, one sentence each, for the report. */
      notes: z.array(z.string()),
      /** Outputs of float.onnx against the original file, both in onnxruntime, on random inputs. */
      parity: paritySchema,
      /** Digest over the original model and its external data files. */
      source: fileSchema,
    }),
  ),

  /** Lists samples without decoding them all: names in the order that indices refer to. */
  listSamples: method(
    z.strictObject({ source: dataSourceSchema }),
    z.strictObject({
      kind: z.enum(['pictures', 'arrays', 'stacked', 'bin', 'parts']),
      /** One name a sample: path relative to the folder, or `file#row` for stacked ones. */
      names: z.array(z.string()),
      /** Digest over names and contents of the source's files. */
      sha256: z.string(),
    }),
  ),

  /** Carries out a rewrite.json (src/config/rewrite.ts) on an ONNX file. */
  rewrite: method(
    z.strictObject({
      model: z.string(),
      rewrite: z.string(),
      /** safetensors file with the new initializers, or null when there are none. */
      parameters: z.string().nullable(),
      out: z.string(),
      /** Keep initializers above this many bytes in an external file beside `out`; null keeps all inside. */
      externalDataAbove: z.number().int().nullable(),
      /** `load`: run onnx.checker and load the result in onnxruntime; `structure`: onnx.checker only. */
      check: z.enum(['none', 'structure', 'load']),
    }),
    z.strictObject({ files: z.array(fileSchema) }),
  ),

  /**
   * A captured model with other values for some of its constants: float.onnx and weights.safetensors in `out`, as capture
   * writes them. `changes` is a safetensors file with arrays of the same types and shapes.
   */
  reweight: method(
    z.strictObject({ model: z.string(), weights: z.string(), changes: z.string(), out: z.string() }),
    z.strictObject({ model: z.string(), weights: z.string() }),
  ),

  /** Writes preprocessed samples as files for a verifier outside Python. */
  materialize: method(
    z.strictObject({ source: dataSourceSchema, out: z.string() }),
    z.strictObject({
      samples: z.array(
        z.strictObject({
          name: z.string(),
          /** Size of the picture before preprocessing, [height, width]; null for arrays. */
          originalSize: z.tuple([z.number(), z.number()]).nullable(),
          /** By input name, with a batch dimension. */
          tensors: arrayFilesSchema,
        }),
      ),
      skipped: z.array(z.strictObject({ file: z.string(), reason: z.string() })),
    }),
  ),
} as const;
