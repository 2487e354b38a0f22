import { describe, expect, it } from 'vitest';
import { Graph } from '../../graph/graph.js';
import { structureFault } from '../../graph/structure.js';
import { macs } from '../kernel.js';
import { lowerGraph } from '../lower.js';
import { ZOO } from './index.js';

/** Millions of multiplications and of parameters that the papers, or their authors' releases, give. */
const PUBLISHED: Record<string, [macs: number, parameters: number]> = {
  alexnet: [724, 61.0],
  vgg16: [15470, 138.4],
  vgg19: [19630, 143.7],
  resnet18: [1814, 11.69],
  resnet50: [3858, 25.56],
  'inception-v3': [5713, 23.83],
  'inception-v4': [12253, 42.68],
  'inception-resnet-v2': [13156, 55.84],
  googlenet: [1583, 7.0],
  squeezenet: [833, 1.25],
  'mobilenet-v1': [569, 4.23],
  'mobilenet-v2': [301, 3.5],
  'mobilenet-v2-1.4': [582, 6.1],
  'mobilenet-v3-large': [217, 5.48],
  yolov5s: [8217, 7.23],
  'fcn-8s': [181500, 134.5],
  'deeplab-v3': [2750, 2.11],
  vdsr: [43560, 0.665],
};

const RULES = {
  fusedFunctions: new Set<string>(),
  fusesSums: false,
  freeConcat: 16,
  host: new Set<string>(),
  fillsStrides: false,
  passes: {},
};

describe('networks of shapes', () => {
  it.each(Object.keys(ZOO))('%s is a graph that can be lowered, the same every time', (name) => {
    const file = ZOO[name]!();
    expect(structureFault(file)).toBeNull();
    expect(ZOO[name]!()).toEqual(file);
    expect(file.name).toBe(name);
    const { kernels, tensors } = lowerGraph(new Graph(file), RULES);
    expect(kernels.filter(({ guessed }) => guessed)).toEqual([]);
    for (const { elements } of tensors.values()) expect(elements).toBeGreaterThan(0);
  });

  it.each(Object.entries(PUBLISHED))('%s has the published cost', (name, [millions, parameters]) => {
    const file = ZOO[name]!();
    const { kernels } = lowerGraph(new Graph(file), RULES);
    const total = kernels.reduce((sum, kernel) => sum + macs(kernel), 0);
    expect(total / 1e6 / millions).toBeCloseTo(1, 1.7);
    const weights = file.initializers
      .filter(({ dtype }) => dtype === 'float32')
      .reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
    expect(weights / 1e6 / parameters).toBeCloseTo(1, 1.7);
  });
});
