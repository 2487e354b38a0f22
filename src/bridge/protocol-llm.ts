import { z } from 'zod';
import { method } from './protocol-method.js';

/**
 * The part of the protocol that is about language models: a Hugging Face folder of a decoder goes in, a folder with
 * integers and scales comes out (python/dopt/llm/artifact.py). Names of linears are those of the modules in transformers,
 * `model.layers.3.self_attn.q_proj`; of fused experts those of the parameter, one number an expert: `…experts.down_proj.7`.
 */

/** A Hugging Face folder: config.json, safetensors, tokenizer. */
const modelShape = {
  model: z.string(),
  /** Run Python code that lies in the folder. */
  trustRemoteCode: z.boolean(),
};

/** Index of the GPU that runs the model; null for the processor. */
const gpu = z.number().int().nonnegative().nullable();

/** Text that becomes samples of `length` tokens, cut from the concatenated documents, each beginning with BOS. */
export const llmTextSchema = z.strictObject({
  /** `.txt`; `.json` or `.jsonl` of objects with `text`; `.npy` of token numbers, one or two dimensions. */
  files: z.array(z.string()).min(1),
  /** Samples wanted, evenly spread over the text; null takes all that fit. */
  samples: z.number().int().positive().nullable(),
  /** Tokens a sample, BOS included. */
  length: z.number().int().min(2),
  /** Put every document into the tokenizer's chat template, as a message of the user's. */
  chat: z.boolean(),
  /** Begin every sample with BOS, where the tokenizer has one. */
  bos: z.boolean(),
});

/** How a text became samples. */
const textResultSchema = z.strictObject({
  samples: z.number().int(),
  length: z.number().int(),
  tokens: z.number().int(),
  /** Tokens in the text. */
  available: z.number().int(),
  /** BOS that every sample begins with; null for none. */
  bos: z.number().int().nullable(),
  /** Digest over the token numbers. */
  sha256: z.string(),
});

/** What is done to one linear. */
export const llmStrategySchema = z.strictObject({
  name: z.string(),
  bits: z.number().int().min(2).max(8),
  /** Weights along the inputs that share a scale; 0: a whole row of inputs. Divides the number of inputs. */
  groupSize: z.number().int().nonnegative(),
  /** Whether -2^(bits-1) is used: -8..7, or -7..7. */
  fullRange: z.boolean(),
  /** The user's name for it, carried into the result. */
  strategy: z.string(),
});

/** How weights are solved for. */
export const llmSolverSchema = z.strictObject({
  /** absmax; the clip of least squared error; the same with each input weighted by its power. */
  scales: z.enum(['absmax', 'mse', 'weighted']),
  rounding: z.enum(['nearest', 'gptq']),
  /** Solve inputs of high power first; scales keep the groups of the original order. */
  actOrder: z.boolean(),
  /** Share of the mean diagonal added before factorizing; raised by half decades up to `dampingMost` when that fails. */
  damping: z.number().positive(),
  dampingMost: z.number().positive(),
  /** Ridges to try for weights that make up for errors before the linear (GPTAQ, Qronos); empty: never. */
  ridges: z.array(z.number().positive()),
  /** Errors before a linear are learned from every so many-th batch that solves; from more in large models and of few batches (block.py). */
  crossEvery: z.number().int().positive(),
  /** Round the rows of a head of queries or keys together, each making up for what the others take from attention (heads.py). */
  heads: z.boolean(),
  /** Fit scales to the integers by least squares. */
  refit: z.boolean(),
  /** Sweeps of coordinate descent over the integers after that. */
  sweeps: z.number().int().nonnegative(),
  /** Times that a block's scales are trained over all samples, by the block's output, after its integers are found. */
  polish: z.number().int().nonnegative(),
  /** Every so many-th sample judges solutions and does not make them; 0: no judging, all samples solve. */
  heldBack: z.number().int().nonnegative(),
  /** Solve a block's linears in order, each with the inputs that the solved ones before it leave. */
  sequential: z.boolean(),
  /** Rotate the residual stream and the values by Hadamard matrices: never, where block errors fall, always. */
  rotate: z.enum(['never', 'auto', 'always']),
});

/** Static integer activations. */
export const llmActivationsSchema = z.strictObject({
  bits: z.number().int().min(8).max(16),
  /** Of keys and values as they lie in the cache. */
  kvBits: z.number().int().min(8).max(16),
  symmetric: z.boolean(),
  /** Tensors with less signal to noise, in dB, are reported. */
  warnBelow: z.number(),
});

const activationResultSchema = z.strictObject({
  /** Module, and what of it: `model.layers.0.mlp.down_proj:input`. */
  name: z.string(),
  block: z.number().int().nullable(),
  scale: z.number(),
  zeroPoint: z.number().int(),
  low: z.number(),
  high: z.number(),
  /** Signal to quantization noise, dB; null for a tensor that is always zero or a fixed scale. */
  sqnr: z.number().nullable(),
  /** 'range', or the rule that fixed it: 'softmax', 'sigmoid', 'shared'. */
  rule: z.string(),
});

const versionsSchema = z.strictObject({ torch: z.string(), transformers: z.string() });

const linearResultSchema = z.strictObject({
  name: z.string(),
  block: z.number().int().nullable(),
  /** Solution that stayed: nearest rounding, with error feedback, with the cross term as well. */
  chosen: z.enum(['nearest', 'gptq', 'cross']),
  ridge: z.number().nullable(),
  damping: z.number().nullable(),
  /** Why less than what was asked for was done; null when nothing was in the way. */
  fallback: z.string().nullable(),
  /**
   * Squared error of the output over its power, on samples that did not solve where there are such. Of a linear that adds to the
   * residual stream: of the output with what the stream lacks before it, where errors are made up for. Of queries and keys whose rows
   * are rounded together: weighed by what attention tells apart.
   */
  error: z.number(),
  /** The same for nearest rounding. */
  errorNearest: z.number(),
  /** Tokens that its inputs came from. */
  tokens: z.number().int(),
});

const blockResultSchema = z.strictObject({
  block: z.number().int(),
  /** Mean squared error of the block's output over its mean square, everything before quantized too. */
  error: z.number(),
  rotated: z.boolean(),
  seconds: z.number(),
});

/** Formats that a quantized language model can be written in: python/dopt/llm/export. */
export const LLM_FORMATS = [
  'compressed-tensors',
  'gptq',
  'awq',
  'gguf',
  'onnx-qdq',
  'onnx-matmulnbits',
  'aimet-encodings',
  'ranges',
  'original',
] as const;
export type LlmFormat = (typeof LLM_FORMATS)[number];

export const LLM_METHODS = {
  /** What a model is and has, found without reading its weights: every linear, and what will be in the way. */
  llmInspect: method(
    z.strictObject({
      ...modelShape,
      /** Text that is to calibrate, so that its tokens are counted. */
      text: llmTextSchema.pick({ files: true, chat: true }).nullable(),
    }),
    z.strictObject({
      architecture: z.string(),
      family: z.string(),
      blocks: z.number().int(),
      /** Class of the blocks, `LlamaDecoderLayer`. */
      blockClass: z.string(),
      hidden: z.number().int(),
      vocabulary: z.number().int(),
      /** Longest context that the model takes; null when it does not say. */
      context: z.number().int().nullable(),
      parameters: z.number().int(),
      /** Of all weights, in float32, and in the files. */
      bytes: z.number(),
      fileBytes: z.number(),
      tied: z.boolean(),
      norm: z.enum(['rms', 'layer', 'other']),
      linears: z.array(
        z.strictObject({
          name: z.string(),
          kind: z.enum(['linear', 'conv1d', 'expert']),
          /** null outside of the blocks. */
          block: z.number().int().nullable(),
          /** [outputs, inputs]. */
          shape: z.array(z.number().int()).length(2),
          bias: z.boolean(),
          head: z.boolean(),
        }),
      ),
      embedding: z.strictObject({ name: z.string(), shape: z.array(z.number().int()).length(2) }),
      /** Matrices inside of blocks that are no linear: they stay float. */
      uncovered: z.array(z.strictObject({ name: z.string(), shape: z.array(z.number().int()) })),
      /** Whether Hadamard rotations can be folded into the weights; why not otherwise. */
      rotation: z.strictObject({ possible: z.boolean(), reason: z.string().nullable() }),
      /** Formats that the model cannot be written in, whatever its weights become, and why. */
      unexportable: z.array(z.strictObject({ format: z.enum(LLM_FORMATS), reason: z.string() })),
      /** null when the folder has none. */
      tokenizer: z
        .strictObject({
          vocabulary: z.number().int(),
          bos: z.number().int().nullable(),
          eos: z.number().int().nullable(),
          chatTemplate: z.boolean(),
        })
        .nullable(),
      /** Why weights cannot be read block by block, so that the whole model is in memory; null when they can. */
      whole: z.string().nullable(),
      /** float32 bytes of the largest block, and of all that lies outside of the blocks. */
      blockBytes: z.number(),
      outsideBytes: z.number(),
      /** Bytes of the largest block as it is kept: linears in the type of the file. */
      storedBlockBytes: z.number(),
      /** Of the process that looked: interpreter and frameworks. */
      baseBytes: z.number(),
      /** Heads of attention. */
      heads: z.number().int(),
      /** Of the text that is to calibrate; null without one, and where it is so long that it has enough for every usual size. */
      textTokens: z.number().int().nullable(),
      /** Digest over the configuration and the names, shapes and places of the weights. */
      sha256: z.string(),
      versions: versionsSchema,
    }),
  ),

  /**
   * Solves integers and scales, block after block, and writes them into `out`; a run that was ended goes on behind the last
   * finished block when everything that decides the result is the same. Progress counts blocks.
   */
  llmQuantize: method(
    z.strictObject({
      ...modelShape,
      out: z.string(),
      calibration: llmTextSchema,
      /** Linears that are not named stay float. */
      linears: z.array(llmStrategySchema),
      /** Bits of the embedding, one scale a row; null keeps it float. */
      embeddingBits: z.number().int().min(4).max(8).nullable(),
      solver: llmSolverSchema,
      activations: llmActivationsSchema.nullable(),
      /** Samples that go through a block together. */
      batch: z.number().int().positive(),
      threads: z.number().int().positive(),
      gpu,
      /** Run each pass through a block once: passes wait for its linears, which takes memory. Integers are the same. */
      lockstep: z.boolean(),
      resume: z.boolean(),
      seed: z.number().int(),
    }),
    z.strictObject({
      folder: z.string(),
      calibration: textResultSchema,
      blocks: z.array(blockResultSchema),
      linears: z.array(linearResultSchema),
      activations: z.array(activationResultSchema),
      warnings: z.array(z.string()),
      /** First block that was computed by this run. */
      resumedAt: z.number().int(),
      /** Over all integers, scales and activation parameters. */
      digest: z.string(),
      /** The most that the process used. */
      peakBytes: z.number(),
      seconds: z.number(),
      versions: versionsSchema,
    }),
  ),

  /** Ranges of activations of a quantized model, written into its folder. */
  llmRanges: method(
    z.strictObject({
      ...modelShape,
      quantized: z.string(),
      calibration: llmTextSchema,
      activations: llmActivationsSchema,
      batch: z.number().int().positive(),
      threads: z.number().int().positive(),
      gpu,
    }),
    z.strictObject({
      calibration: textResultSchema,
      activations: z.array(activationResultSchema),
      warnings: z.array(z.string()),
      seconds: z.number(),
    }),
  ),

  /** The float model and what was made of it, over the same windows of a text. */
  llmEvaluate: method(
    z.strictObject({
      ...modelShape,
      /** null: the float model alone. */
      quantized: z.string().nullable(),
      text: llmTextSchema,
      /** Round activations to the integers of the quantized model, too. */
      activations: z.boolean(),
      prompts: z.array(z.string()),
      newTokens: z.number().int().positive(),
      batch: z.number().int().positive(),
      threads: z.number().int().positive(),
      gpu,
    }),
    z.strictObject({
      /** How it was computed, in a sentence. */
      recipe: z.string(),
      text: textResultSchema,
      /** Tokens that were predicted. */
      scored: z.number().int(),
      float: z.strictObject({ perplexity: z.number(), nats: z.number() }),
      quantized: z
        .strictObject({
          perplexity: z.number(),
          nats: z.number(),
          /** Mean divergence of the distributions, nats a token; share of equal first choices. */
          kl: z.number(),
          agreement: z.number(),
          /** Error of each block's output over its power. */
          blocks: z.array(z.number()),
        })
        .nullable(),
      samples: z.array(
        z.strictObject({ prompt: z.string(), float: z.string(), quantized: z.string().nullable() }),
      ),
      seconds: z.number(),
      peakBytes: z.number(),
    }),
  ),

  /** Goes on with texts, greedily. */
  llmGenerate: method(
    z.strictObject({
      ...modelShape,
      quantized: z.string().nullable(),
      activations: z.boolean(),
      prompts: z.array(z.string()).min(1),
      chat: z.boolean(),
      newTokens: z.number().int().positive(),
      threads: z.number().int().positive(),
      gpu,
    }),
    z.strictObject({
      samples: z.array(z.strictObject({ prompt: z.string(), text: z.string() })),
      seconds: z.number(),
    }),
  ),

  /** Trains scales and norms so that the quantized model's distribution comes closer to the float one's; integers stay. */
  llmDistil: method(
    z.strictObject({
      ...modelShape,
      quantized: z.string(),
      out: z.string(),
      text: llmTextSchema,
      loss: z.enum(['kl', 'mse']),
      /** Logits of the teacher that are kept for a token; the rest counts as one. */
      top: z.number().int().positive(),
      temperature: z.number().positive(),
      trainable: z.array(z.enum(['scales', 'norms'])).min(1),
      epochs: z.number().positive(),
      microBatch: z.number().int().positive(),
      accumulation: z.number().int().positive(),
      learningRate: z.number().positive(),
      weightDecay: z.number().nonnegative(),
      warmupSteps: z.number().int().nonnegative(),
      schedule: z.enum(['cosine', 'linear', 'constant']),
      /** Every so many-th sample judges; parameters of the best step stay. */
      heldBack: z.number().int().min(2),
      checkpointSteps: z.number().int().positive(),
      threads: z.number().int().positive(),
      gpu,
      /** That train together, each with a copy of the model and a share of the samples; torchrun's number counts instead. */
      processes: z.number().int().positive(),
      resume: z.boolean(),
      seed: z.number().int(),
    }),
    z.strictObject({
      folder: z.string(),
      text: textResultSchema,
      steps: z.number().int(),
      /** Divergence on the samples that judge, before and after. */
      before: z.number(),
      after: z.number(),
      losses: z.array(z.number()),
      resumedAt: z.number().int(),
      digest: z.string(),
      seconds: z.number(),
      peakBytes: z.number(),
    }),
  ),

  /** A quantized model in another format: fills the folder `out`, which must not exist. */
  llmExport: method(
    z.strictObject({
      artifact: z.string(),
      format: z.enum(LLM_FORMATS),
      out: z.string(),
      options: z.strictObject({
        /** Of what stays float; null: the model's own type of 16 bits, and float32 for `original`. */
        dtype: z.enum(['float16', 'bfloat16', 'float32']).nullable().default(null),
        encodingsVersion: z.enum(['1.0.0', '2.0.0']).nullable().default(null),
        /** Of `original`: files of these stages; 4-bit weights as indices; embedding apart; rows of lm_head. */
        stages: z.array(z.number().int().min(1).max(3)).nullable().default(null),
        quantParam2: z.boolean().default(false),
        embeddingSeparate: z.boolean().default(true),
        lmHeadSize: z.number().int().positive().nullable().default(null),
      }),
    }),
    z.strictObject({
      files: z.array(z.strictObject({ path: z.string(), bytes: z.number(), sha256: z.string() })),
      /** Layers in integers, and those that the format cannot hold. */
      layers: z.number().int(),
      float: z.array(z.strictObject({ name: z.string(), reason: z.string() })),
      /** What the format cannot carry, or rounds. */
      notes: z.array(z.string()),
    }),
  ),
} as const;
