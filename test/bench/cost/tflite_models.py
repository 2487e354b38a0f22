"""Writes graph.json files of shapes as INT8 TensorFlow Lite files, with random weights.

    python tflite_models.py GRAPHS OUT

GRAPHS is a folder of graph.json files in the form of the model zoo; needs TensorFlow.
"""
import json
import pathlib
import sys

import numpy as np
import tensorflow as tf

ACTIVATIONS = {
    'Relu': tf.nn.relu,
    'Clip': tf.nn.relu6,
    'Sigmoid': tf.sigmoid,
    'HardSigmoid': lambda x: tf.nn.relu6(x + 3.0) * (1 / 6),
    'HardSwish': lambda x: x * tf.nn.relu6(x + 3.0) * (1 / 6),
    'LeakyRelu': lambda x: tf.nn.leaky_relu(x, 0.01),
}


def weights(random, shape, inputs):
    return tf.constant(random.normal(0, 1 / np.sqrt(inputs), shape).astype(np.float32))


def padded(x, pads, value=0.0):
    top, left, bottom, right = (int(pad) for pad in pads)
    if not any((top, left, bottom, right)):
        return x
    return tf.pad(x, [[0, 0], [top, bottom], [left, right], [0, 0]], constant_values=value)


def is_same(size, kernel, stride, dilation, before, after):
    """Whether padding is what TensorFlow calls SAME."""
    span = (kernel - 1) * dilation + 1
    total = max(0, (-(-size // stride) - 1) * stride + span - size)
    return (before, after) == (total // 2, total - total // 2)


def window(x, node, pad_value):
    """The map, the padding word, strides and dilations of a convolution or pooling."""
    attributes = node['attributes']
    kernel, stride = attributes['kernel_shape'], attributes['strides']
    dilation = attributes.get('dilations', [1, 1])
    pads = attributes['pads']
    same = all(is_same(x.shape[1 + i], kernel[i], stride[i], dilation[i], pads[i], pads[i + 2]) for i in (0, 1))
    return (x if same else padded(x, pads, pad_value)), ('SAME' if same else 'VALID'), stride, dilation


def convolution(random, x, node, shapes):
    x, padding, stride, dilation = window(x, node, 0.0)
    out, inner, kh, kw = shapes[node['inputs'][1]]
    groups = int(node['attributes']['group'])
    if groups == x.shape[-1] and inner == 1 and groups > 1:
        kernel = weights(random, (kh, kw, groups, out // groups), kh * kw)
        y = tf.nn.depthwise_conv2d(x, kernel, [1, *stride, 1], padding, dilations=dilation)
    else:
        parts = tf.split(x, groups, axis=-1) if groups > 1 else [x]
        results = [
            tf.nn.conv2d(part, weights(random, (kh, kw, inner, out // groups), kh * kw * inner), stride, padding,
                         dilations=dilation)
            for part in parts
        ]
        y = tf.concat(results, -1) if groups > 1 else results[0]
    return y + tf.constant(random.normal(0, 0.1, out).astype(np.float32))


def pooling(x, node):
    value = -1e9 if node['op'] == 'MaxPool' else 0.0
    x, padding, stride, _ = window(x, node, value)
    pool = tf.nn.max_pool2d if node['op'] == 'MaxPool' else tf.nn.avg_pool2d
    return pool(x, node['attributes']['kernel_shape'], stride, padding)


def run(graph, image, random):
    shapes = {constant['name']: constant['shape'] for constant in graph['initializers']}
    values = {graph['inputs'][0]['name']: image}
    for node in graph['nodes']:
        op = node['op']
        inputs = [values[name] for name in node['inputs'] if name in values]
        x = inputs[0]
        if op == 'Conv':
            y = convolution(random, x, node, shapes)
        elif op == 'Gemm':
            out, inner = shapes[node['inputs'][1]]
            y = tf.matmul(x, weights(random, (inner, out), inner)) + tf.zeros(out)
        elif op in ACTIVATIONS:
            y = ACTIVATIONS[op](x)
        elif op in ('MaxPool', 'AveragePool'):
            y = pooling(x, node)
        elif op == 'GlobalAveragePool':
            y = tf.reduce_mean(x, [1, 2], keepdims=True)
        elif op == 'Flatten':
            y = tf.reshape(x, [1, -1])
        elif op == 'Softmax':
            y = tf.nn.softmax(x)
        elif op in ('Add', 'Mul'):
            y = inputs[0] + inputs[1] if op == 'Add' else inputs[0] * inputs[1]
        elif op == 'Concat':
            y = tf.concat(inputs, -1)
        elif op == 'Resize':
            shape = graph['tensors'][node['outputs'][0]]['shape']
            resize = tf.image.resize if node['attributes']['mode'] == 'linear' else None
            y = resize(x, shape[2:]) if resize else tf.image.resize(x, shape[2:], method='nearest')
        else:
            raise SystemExit(f'{graph["name"]}: no TensorFlow form of {op} is written here')
        values[node['outputs'][0]] = y
    return [values[output['name']] for output in graph['outputs']]


def convert(graph):
    _, channels, height, width = graph['inputs'][0]['shape']
    shape = (1, height, width, channels)
    random = np.random.RandomState(0)

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)])
    def network(image):
        return run(graph, image, np.random.RandomState(0))

    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([random.normal(size=shape).astype(np.float32)] for _ in range(2))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def main(graphs, out):
    pathlib.Path(out).mkdir(parents=True, exist_ok=True)
    for path in sorted(pathlib.Path(graphs).glob('*.json')):
        target = pathlib.Path(out) / f'{path.stem}.tflite'
        if not target.exists():
            target.write_bytes(convert(json.loads(path.read_text())))
            print(path.stem, target.stat().st_size, flush=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
