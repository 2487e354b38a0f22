import { z } from 'zod';
import { dataSourceSchema } from '../config/data.js';
import { paritySchema } from '../config/verification.js';
import { DOOR_METHODS } from './protocol-doors.js';
import { LLM_METHODS } from './protocol-llm.js';
import { arrayFilesSchema, fileSchema, method } from './protocol-method.js';
import { NAS_METHODS } from './protocol-nas.js';

/**
 * The whole contract between TypeScript and Python: this file and the parts of it beside it (protocol-*.ts).
 *
 * Short calls go through `dopt.worker.invoke(method, params_json) -> envelope_json` (pythonia); long work runs as
 * `python -m dopt.job job.json` (execa), where job.json is `{method, params}` and the answer arrives as the last
 * event on fd 3. Only JSON text and file paths cross; tensors are files. Paths are absolute.
 * Methods are registered once, in python/dopt/methods.py, and can be reached either way.
 */

// ── Envelope ────────────────────────────────────────────────────────────────────────────────────────────────────────

export const pythonErrorSchema = z.strictObject({
  /** Python exception class. */
  type: z.string(),
  /** Stable code, e.g. DATA_EMPTY_FOLDER; 'PYTHON_EXCEPTION' when the code raised something of its own. */
  code: z.string(),
  /** Decides the exit code: user → 3, environment → 4, external → 5, bug → 1. */
  kind: z.enum(['user', 'environment', 'external', 'bug']),
  message: z.string(),
  place: z.string().nullable(),
  suggestions: z.array(z.string()),
  /** What there was, when the message alone does not say it. */
  found: z.string().optional(),
  traceback: z.string(),
});
export type PythonError = z.infer<typeof pythonErrorSchema>;

export const envelopeSchema = z.discriminatedUnion('ok', [
  z.strictObject({ ok: z.literal(true), value: z.unknown() }),
  z.strictObject({ ok: z.literal(false), error: pythonErrorSchema }),
]);

// ── Events of a job, one JSON object a line on fd 3 ─────────────────────────────────────────────────────────────────

export const jobEventSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('heartbeat'), time: z.number() }),
  z.strictObject({
    type: z.literal('progress'),
    done: z.number(),
    total: z.number().nullable(),
    message: z.string(),
  }),
  z.strictObject({ type: z.literal('log'), level: z.enum(['info', 'warning']), message: z.string() }),
  /** Largest resident set of the process, sent before the answer. */
  z.strictObject({ type: z.literal('usage'), peakBytes: z.number() }),
  z.strictObject({ type: z.literal('answer'), envelope: envelopeSchema }),
]);
export type JobEvent = z.infer<typeof jobEventSchema>;

// ── Methods ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What runs a network: onnxruntime or PyTorch, on the GPU of an index or the processor; null: onnxruntime on the processor. */
const executor = z
  .strictObject({
    kind: z.enum(['onnxruntime', 'torch']),
    gpu: z.number().int().nonnegative().nullable(),
    /** More GPUs, for methods that deal samples out to several. */
    others: z.array(z.number().int().nonnegative().nullable()).default([]),
  })
  .nullable()
  .default(null);

/** A grid to round an activation to: one scale and zero point, or one for each index along `axis`. */
const quantizerSchema = z.strictObject({
  bits: z.number().int(),
  signed: z.boolean(),
  axis: z.number().int(),
  scales: z.array(z.number().positive()).min(1),
  zeroPoints: z.array(z.number().int()).min(1),
});

/** Energy of a tensor, and of what differs from it. */
const errorSchema = z.strictObject({ signal: z.number(), noise: z.number() });

/** A metric of the user's. */
const metricFileShape = {
  file: z.string(),
  /** Seconds without a sign of life (a sample read, a line printed) after which it is ended with METRIC_HANG. */
  patience: z.number().positive(),
};

export const METHODS = {
  ...DOOR_METHODS,
  ...LLM_METHODS,
  ...NAS_METHODS,

  /** Versions of the interpreter and of every package in the environment. */
  /** GPUs as frameworks of this interpreter see them, and the CUDA core (python/dopt/gpu.py). */
  gpus: method(
    z.strictObject({ frameworks: z.array(z.enum(['torch', 'onnxruntime', 'tensorflow', 'core'])).min(1) }),
    z.strictObject({
      /** An answer for each that was asked for. */
      frameworks: z.record(
        z.string(),
        z.strictObject({
          version: z.string().nullable(),
          /** By index; `reason`: why this one cannot be used. */
          devices: z.array(
            z.strictObject({
              name: z.string(),
              memory: z.number().nullable(),
              reason: z.string().nullable(),
            }),
          ),
          /** Why there are none; null where there are. */
          reason: z.string().nullable(),
        }),
      ),
    }),
  ),

  probe: method(
    /** Modules to import, to be sure that they work. */
    z.strictObject({ modules: z.array(z.string()).default([]) }),
    z.strictObject({
      python: z.string(),
      executable: z.string(),
      platform: z.string(),
      packages: z.record(z.string(), z.string()),
      native: z.strictObject({ loaded: z.boolean(), detail: z.string() }),
      /** Modules that were asked for and cannot be imported, with the reason. */
      broken: z.record(z.string(), z.string()),
    }),
  ),

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

  /** Runs float.onnx over the samples and gathers statistics.json + statistics.safetensors. */
  observe: method(
    z.strictObject({
      model: z.string(),
      tensors: z.array(z.string()),
      source: dataSourceSchema,
      out: z.string(),
      bins: z.number().int().positive(),
      threads: z.number().int().positive(),
      executor,
    }),
    z.strictObject({
      statistics: z.string(),
      histograms: z.string(),
      samples: z.number().int(),
      seconds: z.number(),
      /** Seconds inside onnxruntime alone, and inside the observers alone. */
      inferenceSeconds: z.number(),
      observerSeconds: z.number(),
      peakBytes: z.number(),
      executor: z.string(),
    }),
  ),

  /** Extremes, mean squares and means of tensors per channel, over the samples: `channels.safetensors` in `out`. */
  observeChannels: method(
    z.strictObject({
      model: z.string(),
      tensors: z.array(z.strictObject({ tensor: z.string(), axis: z.number().int() })),
      source: dataSourceSchema,
      out: z.string(),
      threads: z.number().int().positive(),
      executor,
    }),
    /** float64 [4, channels] under each tensor's name: min, max, mean square, mean. */
    z.strictObject({ channels: z.string(), samples: z.number().int() }),
  ),

  /** Distributions of tensors by channel and the growth of their extremes: `profile.safetensors` in `out`. */
  profile: method(
    z.strictObject({
      model: z.string(),
      /** With the axis of their channels; −1 is the last. */
      tensors: z.array(z.strictObject({ tensor: z.string(), axis: z.number().int() })),
      source: dataSourceSchema,
      out: z.string(),
      threads: z.number().int().positive(),
      executor,
    }),
    /**
     * `X/moments`, float64 [7, channels]: finite values, least, largest, sums of x, x², x³, x⁴; `X/growth`, float64
     * [points, 3]: samples so far, least and largest value, at 1, 2, 4, … samples and at the end.
     */
    z.strictObject({ profile: z.string(), samples: z.number().int() }),
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

  /**
   * Walks a float model and its quantized form layer by layer on cached activations; for each layer in turn takes the
   * candidate range of its input with the least output error, solves for integer weights that keep the output, and
   * measures the bias shift that remains.
   */
  refine: method(
    z.strictObject({
      float: z.string(),
      quantized: z.string(),
      source: dataSourceSchema,
      /** In topological order. */
      layers: z.array(
        z.strictObject({
          name: z.string(),
          /** The layer's result before its activation function, in the float and in the quantized model. */
          floatOutput: z.string(),
          quantizedOutput: z.string(),
          /** Axis of the output channels in that tensor. */
          axis: z.number().int(),
          correctBias: z.boolean(),
          hasBias: z.boolean(),
          /**
           * The other term of the sum that the layer's output goes into: the output then aims at what the sum wants of it.
           * `quantized`: names to look for in the quantized model. Ignored where it is not computed before the layer.
           */
          sum: z.strictObject({ float: z.string(), quantized: z.array(z.string()).min(1) }).nullable(),
          /** Result of the activation function behind the output, in the float model; null for none. */
          activated: z.string().nullable(),
          /** Candidate parameters for the quantizer at the layer's input; null when they are settled. */
          choice: z
            .strictObject({
              /** The layer's input behind its DequantizeLinear. */
              tensor: z.string(),
              /** Initializers `X/scale` and `X/zero_point` belong to this X, and to those that share them. */
              quantizer: z.string(),
              shared: z.array(z.string()),
              dtype: z.enum(['uint8', 'int8', 'uint16', 'int16']),
              candidates: z
                .array(z.strictObject({ scale: z.number().positive(), zeroPoint: z.number().int() }))
                .min(1),
            })
            .nullable(),
        }),
      ),
      /** Which candidate is taken: the widest of those that samples cannot tell from the best, or the best. */
      rangeRule: z.enum(['widest', 'least']),
      /** safetensors with the float weights, under their names, of the layers to reconstruct; null for none. */
      weights: z.string().nullable(),
      reconstruction: z.strictObject({
        /** Ridges to compare, as shares of the mean variance of a layer's input. */
        ridges: z.array(z.number().positive()),
        /** Share of the mean variance on the diagonal while rounding. */
        damping: z.number().positive(),
        /** Every so many-th sample judges solutions and does not make them. */
        heldBack: z.number().int().min(2),
        /** Multiplications worth spending on the sums of a layer. */
        operations: z.number().positive(),
        /** Layers with more inputs to an output keep nearest rounding: the matrix grows with their square. */
        inputs: z.number().int().positive(),
        /** Largest |integer| of a weight. */
        limit: z.number().int().positive(),
      }),
      /**
       * Where results go: safetensors. `shift/NAME`: float32 [channels] to add to a layer's bias; `weight/NAME`: float32,
       * a layer's solved weights in their stored shape, each on its grid. What is absent stays as it was.
       */
      out: z.string(),
      threads: z.number().int().positive(),
      executor,
    }),
    z.strictObject({
      parameters: z.string(),
      samples: z.number().int(),
      layers: z.array(
        z.strictObject({
          name: z.string(),
          /** Index of the candidate taken, and the mean squared output error of each. */
          chosen: z.number().int().nullable(),
          candidateErrors: z.array(z.number()),
          /**
           * The ridge whose integers stayed (−1: rounded with error feedback alone; null: to nearest), and the squared
           * error of each solution on the judging samples, nearest rounding first; null for a layer that is not solved.
           */
          reconstruction: z
            .strictObject({ ridge: z.number().nullable(), errors: z.array(z.number()) })
            .nullable(),
          /** Mean squared error of the output before and after; mean square of the float output. */
          errorBefore: z.number(),
          errorAfter: z.number(),
          power: z.number(),
        }),
      ),
      seconds: z.number(),
    }),
  ),

  /**
   * What single quantizers do: changes one tensor of `model` at a time, runs what lies behind it, and compares the outputs
   * with those of `reference`. Uses as many of the samples, from the first on, as fit into `maxBytes`.
   */
  sensitivity: method(
    z.strictObject({
      reference: z.string(),
      model: z.string(),
      /** Run without graph optimizations, as a QDQ file says. */
      exact: z.boolean(),
      /** The same network with everything quantized, for what has come together up to each activation; null leaves it out. */
      quantized: z.string().nullable(),
      source: dataSourceSchema,
      probes: z.array(
        z.strictObject({
          name: z.string(),
          change: z.discriminatedUnion('kind', [
            z.strictObject({
              kind: z.literal('activation'),
              /** What is computed, and the tensor behind it that integer operators read. */
              tensor: z.string(),
              instead: z.string(),
              /** Results of those operators. */
              watch: z.array(z.string()),
              /** Grids to try; null tries the values as they are. */
              quantizers: z.array(quantizerSchema.nullable()),
            }),
            z.strictObject({
              kind: z.literal('weight'),
              /** Initializer, and the result of its layer. */
              tensor: z.string(),
              output: z.string(),
              /** Names in `values` of what to try in its place. */
              values: z.array(z.string()),
            }),
          ]),
        }),
      ),
      /** safetensors file with float32 weights, or null. */
      values: z.string().nullable(),
      maxBytes: z.number().int().positive(),
      threads: z.number().int().positive(),
      executor,
    }),
    z.strictObject({
      samples: z.number().int(),
      /** Energy of the reference's outputs; noise is summed over the same samples, one figure an output. */
      outputs: z.array(z.strictObject({ name: z.string(), signal: z.number() })),
      /** Noise of `model` as it is. */
      base: z.array(z.number()),
      /** In the order asked for. */
      probes: z.array(
        z.strictObject({
          name: z.string(),
          alternatives: z.array(
            z.strictObject({ noise: z.array(z.number()), layer: errorSchema.nullable() }),
          ),
          /** Noise with everything quantized up to here, and the tensor itself in the quantized network. */
          accumulated: z.array(z.number()).nullable(),
          arrived: errorSchema.nullable(),
        }),
      ),
      seconds: z.number(),
      peakBytes: z.number(),
    }),
  ),

  /** The outputs of a model against those of a reference, sample by sample: one figure an output. */
  compareSamples: method(
    z.strictObject({
      reference: z.string(),
      model: z.string(),
      source: dataSourceSchema,
      threads: z.number().int().positive(),
      executor,
    }),
    z.strictObject({
      samples: z.array(z.strictObject({ signal: z.array(z.number()), noise: z.array(z.number()) })),
    }),
  ),

  /** The outputs of several rewritten forms of a model against the model's own, sample by sample: one figure an output. */
  compareRewrites: method(
    z.strictObject({
      model: z.string(),
      /** Each a rewrite.json with its parameters, as `rewrite` takes them. */
      rewrites: z.array(z.strictObject({ rewrite: z.string(), parameters: z.string().nullable() })).min(1),
      source: dataSourceSchema,
      /** Leave the mean error of each output channel over all samples out: bias correction will. */
      withoutMeans: z.boolean(),
      /** Folder for the forms while they are compared. */
      out: z.string(),
      threads: z.number().int().positive(),
      executor,
    }),
    z.strictObject({
      /** By sample and output: the energy of the model's own. */
      signal: z.array(z.array(z.number())),
      /** By form, sample and output. */
      noise: z.array(z.array(z.array(z.number()))),
    }),
  ),

  /** Runs a training project for a few steps: what of its networks the plug-in captured, what stays float and why. */
  pluginCheck: method(
    z.strictObject({
      script: z.string(),
      arguments: z.array(z.string()),
      steps: z.number().int().positive(),
    }),
    z.strictObject({
      /** In the order in which the program quantized them. */
      networks: z.array(
        z.strictObject({
          network: z.string(),
          captured: z.record(z.string(), z.string()),
          float: z.array(z.strictObject({ name: z.string(), op_type: z.string(), reason: z.string() })),
        }),
      ),
      steps: z.number(),
      /** 'stopped' after the steps asked for, 'finished' or 'exit N' when the program ended by itself before. */
      ended: z.string(),
      warnings: z.array(z.string()),
    }),
  ),

  /** Loads a Python file with a metric, to be told of mistakes in it early; rejects with METRIC_… and the line. */
  checkMetric: method(z.strictObject(metricFileShape), z.strictObject({})),

  /**
   * Calls `evaluate(outputs, labels)` of a Python file on what a model put out for all samples; where a call is quick,
   * also on draws of the samples. What the user's code prints goes where Python's output goes.
   */
  userMetric: method(
    z.strictObject({
      ...metricFileShape,
      /** Which model it is, for messages. */
      model: z.string(),
      samples: z.array(z.strictObject({ name: z.string(), tensors: arrayFilesSchema })),
      /** Values or paths, one a sample, or rows of a `.npy` file; null where there are none. */
      labels: z
        .union([
          z.strictObject({ values: z.array(z.unknown()) }),
          z.strictObject({ files: z.array(z.string()) }),
          z.strictObject({ array: z.string(), rows: z.array(z.number().int().nonnegative()) }),
        ])
        .nullable(),
      /** Draws for standard errors, given up when all of them would take longer than so many seconds; null for none. */
      resampling: z
        .strictObject({ rounds: z.number().int().positive(), seed: z.number().int(), seconds: z.number() })
        .nullable(),
    }),
    z.strictObject({
      scores: z
        .array(z.strictObject({ name: z.string(), value: z.number(), better: z.enum(['higher', 'lower']) }))
        .min(1),
      /** The values of the scores by draw, or the reason why there are none. */
      replicates: z.array(z.array(z.number())).nullable(),
      reason: z.string().nullable(),
      seconds: z.number(),
    }),
  ),
} as const;

export type MethodName = keyof typeof METHODS;
export type Params<M extends MethodName> = z.input<(typeof METHODS)[M]['params']>;
export type Result<M extends MethodName> = z.output<(typeof METHODS)[M]['result']>;
