import { join } from 'node:path';
import type { Preprocess } from '../../src/config/data.js';
import { preprocessSchema } from '../../src/config/data.js';
import type { Metric } from '../../src/config/metric.js';

/** A model of the test assets with its data: folders laid out by prepare_assets.py. */
export interface BenchModel {
  name: string;
  /** Path below the assets folder. */
  file: string;
  calibration: string;
  test: string;
  labels: string | null;
  metric: Metric | null;
  preprocess: Preprocess;
  /** Most samples the histogram calibrations of onnxruntime get: they keep all activations of all samples in memory. */
  peerHistogramSamples: number;
}

const picture = (settings: object): Preprocess => preprocessSchema.parse(settings);
const top: Metric = { kind: 'classification', topk: [1, 5] };
const cifar = {
  calibration: 'cifar10/calibration',
  test: 'cifar10/test',
  labels: 'cifar10/labels.txt',
  metric: top,
  preprocess: picture({ mean: [123.675, 116.28, 103.53], std: [58.395, 57.12, 57.375] }),
  peerHistogramSamples: 200,
};
const imagenet = {
  calibration: 'imagenet/calibration',
  test: 'imagenet/test',
  labels: 'imagenet/labels.txt',
  metric: top,
};

export const MODELS: readonly BenchModel[] = [
  { name: 'resnet20-cifar10', file: 'models/onnx/resnet20-cifar10.onnx', ...cifar },
  { name: 'resnet56-cifar10', file: 'models/onnx/resnet56-cifar10.onnx', ...cifar },
  {
    name: 'proxyless-w0.25-r112',
    file: 'models/onnx/proxyless-w0.25-r112.onnx',
    ...imagenet,
    preprocess: picture({ resize: 128, crop: 112, mean: 127.5, std: 127.5 }),
    peerHistogramSamples: 200,
  },
  {
    name: 'efficientnet-lite0',
    file: 'efficientnet-lite0/efficientnet-lite0.onnx',
    ...imagenet,
    preprocess: picture({ resize: 256, interpolation: 'bicubic', crop: 224, mean: 127, std: 128 }),
    peerHistogramSamples: 32,
  },
  {
    name: 'ultraface-rfb-320',
    file: 'models/onnx/ultraface-rfb-320.onnx',
    calibration: 'imagenet/calibration',
    test: 'coco/test',
    labels: null,
    metric: null,
    preprocess: picture({ resize: [240, 320], mean: 127, std: 128 }),
    peerHistogramSamples: 32,
  },
  {
    name: 'yolox-nano',
    file: 'models/onnx/yolox-nano.onnx',
    calibration: 'imagenet/calibration',
    test: 'coco/test',
    labels: 'coco/labels',
    metric: {
      kind: 'detection',
      decode: 'yolox',
      strides: [8, 16, 32],
      classes: 80,
      scoreThreshold: 0.001,
      nmsIou: 0.65,
      maxDetections: 100,
      protocol: 'coco',
      agreementThreshold: 0.3,
    },
    preprocess: picture({ color: 'bgr', letterbox: { size: 416, pad: 114, align: 'top-left' } }),
    peerHistogramSamples: 32,
  },
  {
    name: 'cgnet-camvid',
    file: 'models/onnx/cgnet-camvid.onnx',
    calibration: 'camvid/calibration',
    test: 'camvid/test',
    labels: 'camvid/labels',
    metric: { kind: 'segmentation', classes: 11, ignore: [11] },
    preprocess: picture({ resize: [360, 480], mean: [105.65775, 103.329834, 99.625404] }),
    peerHistogramSamples: 24,
  },
];

export const modelPath = (assets: string, model: BenchModel): string => join(assets, model.file);
