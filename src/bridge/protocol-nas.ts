import { z } from 'zod';
import { layerSchema } from '../config/pareto.js';
import { FRAMEWORKS } from '../config/scenario.js';
import { failureSchema } from '../config/search-event.js';
import { method } from './protocol-method.js';

/** The part of the protocol that is about architecture search (python/dopt/nas). */

const count = z.number().int().positive();

const networkSchema = z.array(layerSchema).min(1);

/** What training and scoring share. */
const runShape = {
  framework: z.enum(FRAMEWORKS),
  /** Folder of user_module.py. */
  folder: z.string(),
  application: z.enum(['image_classification', 'object_detection', 'semantic_segmentation']),
  /** Height, width, channels. */
  inputShape: z.array(count).length(3),
  /** Whether pictures, and what PreNet gives and PostNet gets, have channels first; in PyTorch they always do. */
  channelsFirst: z.boolean(),
  trainFolder: z.string(),
  valFolder: z.string(),
  epochs: count,
  batchSize: count,
  optimizer: z.strictObject({
    type: z.enum(['SGD', 'Momentum', 'Adam']),
    learningRate: z.number().positive(),
    betas: z.tuple([z.number(), z.number()]),
    momentum: z.number(),
  }),
  /** Layers whose results PostNet gets too. */
  features: z.array(z.number().int().nonnegative()),
  seed: z.number().int().nonnegative(),
  /** Index of a GPU; null for the processor. */
  gpu: z.number().int().nonnegative().nullable(),
  /** Folder for logs that TensorBoard reads. */
  log: z.string(),
  /** 0 leaves it to the framework. */
  threads: z.number().int().nonnegative(),
};

/** For each layer, and each kind of block that it may be, the one with the most channels. */
const largest = z.array(z.record(z.string(), layerSchema));

export const NAS_METHODS = {
  /** Runs the user's fixed parts once: what the searched part gets, and both as ONNX, for the cost model. */
  nasDescribe: method(
    z.strictObject({
      framework: z.enum(FRAMEWORKS),
      folder: z.string(),
      /** Height, width, channels. */
      inputShape: z.array(count).length(3),
      /** As in the methods below. */
      channelsFirst: z.boolean(),
      filters: z.array(count).min(1),
      strides: z.array(count).min(1),
      features: z.array(z.number().int().nonnegative()),
      /** Folder for pre.onnx and post.onnx. */
      out: z.string(),
    }),
    z.strictObject({ channels: count, height: count, width: count, pre: z.string(), post: z.string() }),
  ),

  /** Trains the shared weights of all candidates; goes on from the last finished epoch in `checkpoint`. */
  nasTrain: method(
    z.strictObject({
      ...runShape,
      largest,
      checkpoint: z.string(),
      /** Networks that are trained in turn, in which each choice stands equally often. */
      deck: z.array(networkSchema).min(1),
      /** A network that is no candidate, whose layers the shared ones are taught by. */
      guide: networkSchema,
      /** Folder of an earlier search's weights, or of pictures in one folder a class, that the layers begin with. */
      preTrainFolder: z.string().nullable(),
      /** GPU of each process (PyTorch) or device of one process (TensorFlow) that trains, null for the processor. */
      places: z.array(z.number().int().nonnegative().nullable()).min(1),
    }),
    z.strictObject({ epochs: z.number().int(), loss: z.number().nullable() }),
  ),

  /** Draws scores against costs, as a PNG and for TensorBoard. */
  nasPicture: method(
    z.strictObject({
      points: z
        .array(
          z.strictObject({
            score: z.number(),
            cost: z.number(),
            /** N of a network that none beats. */
            number: z.number().int().nonnegative().nullable(),
          }),
        )
        .min(1),
      /** What the cost is. */
      cost: z.string(),
      tried: z.number().int(),
      file: z.string(),
      log: z.string(),
    }),
    z.strictObject({ file: z.string() }),
  ),

  /** Trains one network fully, from the last finished epoch in `checkpoint` on, and writes it with samples. */
  nasRetrain: method(
    z.strictObject({
      ...runShape,
      checkpoint: z.string(),
      layers: networkSchema,
      /** Folder and name of what is written. */
      out: z.string(),
      name: z.string(),
      /** Most samples of each folder that are written. */
      samples: count,
    }),
    z.strictObject({
      loss: z.number().nullable(),
      score: z.number(),
      weights: z.string(),
      /** ONNX or .pb. */
      model: z.string(),
      /** Name of the input, in the model and in the files of samples. */
      input: z.string(),
      calibration: z.string(),
      validation: z.string(),
      /** Classes of the validation samples, where they are classes. */
      labels: z.string().nullable(),
    }),
  ),

  /** Scores networks: with shared weights, or each trained alone in `parts` where there is no checkpoint. */
  nasScore: method(
    z.strictObject({
      ...runShape,
      largest,
      checkpoint: z.string().nullable(),
      /** Batches that statistics of normalizations are gathered from. */
      calibrationBatches: count,
      /** Batches that a network goes on with from the shared weights before it is scored. */
      tuneBatches: z.number().int().nonnegative(),
      /** How often it does, each time from other new weights and with other batches; what is found is their mean. */
      tuneSeeds: count,
      networks: z.array(
        z.strictObject({
          key: z.string(),
          layers: networkSchema,
          seed: z.number().int().nonnegative(),
          /** How it is trained alone, one part after the other: each has the user's whole schedule. */
          parts: z.array(
            z.strictObject({
              epochs: count,
              /** Where its weights are kept behind the part; what is there is not trained again. */
              file: z.string().nullable(),
            }),
          ),
          /** Weights that it begins with as far as shapes agree. */
          parent: z.strictObject({ file: z.string(), layers: networkSchema }).nullable(),
        }),
      ),
    }),
    z.strictObject({
      results: z.array(
        z.strictObject({
          key: z.string(),
          score: z.number().nullable(),
          /**
           * The user's loss on the validation data after it went on from shared weights, or, where it does not take their labels,
           * the mean of the last half of the batches that it went on with; null where there were none.
           */
          loss: z.number().nullable(),
          reason: failureSchema.nullable(),
        }),
      ),
    }),
  ),
};
