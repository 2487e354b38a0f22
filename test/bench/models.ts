import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Args, Parser } from '@oclif/core';
import { quantizeFlags, quantizeOptions } from '../../src/cli/quantize-flags.js';
import type { QuantizeOptions } from '../../src/quantize/options.js';

/** A network with its data, as the command line takes it: `dopt quantize` without `--out`. */
export interface BenchModel {
  name: string;
  args: readonly string[];
  /** Most samples for calibrations that keep the activations of all samples in memory. */
  histogramSamples: number;
  /** Folder of further pictures, without labels, to compare decisions on. */
  views?: string;
}

/** Where the networks lie. */
export interface BenchPlaces {
  /** The test assets. */
  assets: string;
  /** Their pictures and clips as prepare_assets.py lays them out. */
  data: string;
}

const DIGITS = fileURLToPath(new URL('../../recipes/digits', import.meta.url));

/** The networks of docs/benchmarks.md. */
export function benchModels({ assets, data }: BenchPlaces): readonly BenchModel[] {
  const onnx = (name: string): string => join(assets, 'models/onnx', `${name}.onnx`);
  const calibrated = (folder: string, scored = folder): string[] => [
    ...['--data', join(data, folder, 'calibration'), '--verify-data', join(data, scored, 'test')],
  ];
  const labels = (path: string): string[] => ['--labels', join(data, path)];
  const views = (folder: string): string => join(data, 'views', folder);
  const cifar = [...calibrated('cifar10'), ...labels('cifar10/labels.txt'), '--recipe', 'resnet-cifar'];
  const imagenet = [...calibrated('imagenet'), ...labels('imagenet/labels.txt')];
  return [
    {
      name: 'digits',
      args: [
        ...[join(DIGITS, 'model.onnx'), '--data', join(DIGITS, 'data/calibration'), '--recipe', 'digits'],
        ...['--verify-data', join(DIGITS, 'data/test'), '--labels', join(DIGITS, 'data/labels.txt')],
      ],
      histogramSamples: 200,
    },
    ...['resnet20-cifar10', 'resnet56-cifar10'].map((name) => ({
      name,
      args: [onnx(name), ...cifar],
      histogramSamples: 200,
      views: views('cifar10'),
    })),
    {
      name: 'proxyless-w0.25-r112',
      args: [onnx('proxyless-w0.25-r112'), ...imagenet, '--recipe', 'proxyless'],
      histogramSamples: 200,
      views: views('imagenet'),
    },
    {
      name: 'efficientnet-lite0',
      args: [
        join(assets, 'efficientnet-lite0/efficientnet-lite0.onnx'),
        ...[...imagenet, '--recipe', 'efficientnet-lite'],
      ],
      histogramSamples: 32,
      views: views('imagenet'),
    },
    {
      name: 'ultraface-rfb-320',
      args: [onnx('ultraface-rfb-320'), ...calibrated('imagenet', 'coco'), '--recipe', 'ultraface'],
      histogramSamples: 32,
      views: views('scenes'),
    },
    {
      name: 'yolox-nano',
      args: [
        ...[onnx('yolox-nano'), ...calibrated('imagenet', 'coco'), ...labels('coco/labels')],
        ...['--recipe', 'yolox'],
      ],
      histogramSamples: 32,
      views: views('scenes'),
    },
    {
      name: 'cgnet-camvid',
      args: [onnx('cgnet-camvid'), ...calibrated('camvid'), ...labels('camvid/labels'), '--recipe', 'cgnet'],
      histogramSamples: 24,
    },
    ...['ds-cnn-s', 'cnn-s', 'dnn-s'].map((name) => ({
      name,
      args: [
        ...[join(assets, 'models/tensorflow', `${name}.pb`), ...calibrated('speech')],
        ...[...labels('speech/labels.txt'), '--recipe', 'keywords'],
      ],
      histogramSamples: 168,
    })),
  ];
}

/** What the command line of a network, with a run folder and perhaps further flags, asks for. */
export async function optionsOf({ args }: BenchModel, more: readonly string[]): Promise<QuantizeOptions> {
  const { flags, args: named } = await Parser.parse([...args, ...more], {
    flags: quantizeFlags,
    args: { model: Args.string({ required: true }) },
    strict: true,
  });
  return quantizeOptions(named.model, flags);
}
