import { z } from 'zod';
import { dataSourceSchema } from '../config/data.js';
import { method } from './protocol-method.js';

/** The part of the protocol that runs networks over samples (python/dopt/execute). */

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

/** Tensors of a model by channel, over the samples. */
const channelParams = z.strictObject({
  model: z.string(),
  /** With the axis of their channels; −1 is the last. */
  tensors: z.array(z.strictObject({ tensor: z.string(), axis: z.number().int() })),
  source: dataSourceSchema,
  out: z.string(),
  threads: z.number().int().positive(),
  executor,
});

export const EXECUTE_METHODS = {
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
    channelParams,
    /** float64 [4, channels] under each tensor's name: min, max, mean square, mean. */
    z.strictObject({ channels: z.string(), samples: z.number().int() }),
  ),

  /** Distributions of tensors by channel and the growth of their extremes: `profile.safetensors` in `out`. */
  profile: method(
    channelParams,
    /**
     * `X/moments`, float64 [7, channels]: finite values, least, largest, sums of x, x², x³, x⁴; `X/growth`, float64
     * [points, 3]: samples so far, least and largest value, at 1, 2, 4, … samples and at the end.
     */
    z.strictObject({ profile: z.string(), samples: z.number().int() }),
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
} as const;
