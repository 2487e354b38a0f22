import type { GraphFile } from '../../config/graph.js';
import { alexnet, resnet, squeezenet, vgg } from './classic.js';
import { deeplabV3, fcn8s, fsrcnn, vdsr } from './dense.js';
import { ssdMobilenetV2, yolov5s } from './detection.js';
import { googlenet, inceptionResnetV2, inceptionV3, inceptionV4 } from './inception.js';
import { mobilenetV1, mobilenetV2, mobilenetV3Large } from './mobilenet.js';

/**
 * Networks of shapes by name, for comparison and tests: each function builds the graph anew. Height and width of the
 * picture can be given to those of ANY_SIZE.
 */
export const ZOO: Readonly<Record<string, (height?: number, width?: number) => GraphFile>> = {
  alexnet,
  vgg16: () => vgg(16),
  vgg19: () => vgg(19),
  resnet18: () => resnet(18),
  resnet50: () => resnet(50),
  'inception-v3': inceptionV3,
  'inception-v4': inceptionV4,
  'inception-resnet-v2': inceptionResnetV2,
  googlenet,
  squeezenet,
  'mobilenet-v1': mobilenetV1,
  'mobilenet-v2': mobilenetV2,
  'mobilenet-v2-1.4': () => mobilenetV2(1.4),
  'mobilenet-v3-large': mobilenetV3Large,
  'ssd-mobilenet-v2': ssdMobilenetV2,
  yolov5s,
  'fcn-8s': fcn8s,
  'deeplab-v3': deeplabV3,
  vdsr,
  fsrcnn,
};

/** Networks that take pictures of any size, with what its sides must be multiples of. */
export const ANY_SIZE: Readonly<Record<string, number>> = {
  yolov5s: 32,
  'fcn-8s': 1,
  'deeplab-v3': 1,
  vdsr: 1,
  fsrcnn: 1,
};
