"""What tests of the write-back need: graphs in code, their ONNX form, a min-max quantization of it, and both run."""

import json
from pathlib import Path

import numpy as np

#: Of the input ``x:0`` of the graphs in code.
SHAPE = [1, 12, 10, 3]
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def freeze(build, shape, seed=0):
    """Frozen GraphDef of ``build(x)``, traced by tf.function: its input is ``x:0``, its result ``out:0``."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    tf.random.set_seed(seed)
    body = tf.function(lambda x: tf.identity(build(x), name="out"))
    concrete = body.get_concrete_function(tf.TensorSpec(shape, tf.float32, name="x"))
    return convert_variables_to_constants_v2(concrete).graph.as_graph_def()


def randomize(model, seed=0):
    """Gives every variable of a Keras model random values, so that no normalization is the identity."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        shape, name = variable.shape.as_list(), variable.name
        if "variance" in name or "gamma" in name:
            value = rng.uniform(0.5, 2.0, shape)
        else:
            fan_in = max(1, int(np.prod(shape[:-1])))
            value = rng.standard_normal(shape) * (1.0 / np.sqrt(fan_in) if len(shape) > 1 else 0.3)
        variable.assign(value.astype(np.float32))
    return model


def constant(*shape, seed=0, low=None):
    """A random kernel (standard deviation by its inputs), or values from ``low`` to 2."""
    import tensorflow as tf

    rng = np.random.default_rng(seed)
    value = rng.uniform(low, 2.0, shape) if low is not None else rng.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))
    return tf.constant(value.astype(np.float32))


def sequential(*layers):
    """A Keras model of the layers with random variables, as a function for ``freeze``."""
    from tensorflow import keras

    model = randomize(keras.Sequential([keras.Input(SHAPE[1:]), *layers]))
    return lambda x: model(x, training=False)


def read_graph(path):
    """A GraphDef from its file."""
    import tensorflow as tf

    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString(Path(path).read_bytes())
    return graph_def


def convert(graph_def, inputs, outputs, folder):
    """Path of the captured float.onnx, under the names of TensorFlow. ``inputs``: shape by name."""
    import onnx
    from dopt.capture.onnx import capture
    from dopt.doors.tensorflow.convert import convert_graph
    from dopt.events import Events

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = {name: name for name in [*inputs, *outputs]}
    onnx.save(convert_graph(graph_def, "net.pb", list(inputs), outputs, dict(inputs), names), str(folder / "model.onnx"))
    params = {"inputShapes": {}, "outputs": None, "float16ToFloat32": False, "seed": 0}
    return capture({"model": str(folder / "model.onnx"), "out": str(folder / "captured"), **params}, Events())["model"]


def borders_of(inputs, outputs):
    """Borders of a conversion that kept the names."""
    return {
        "inputs": [{"name": name, "frameworkName": name} for name in inputs],
        "outputs": [{"name": name, "frameworkName": name} for name in outputs],
    }


def run_graph(graph_def, feeds, outputs):
    """Values of tensors in TensorFlow, with its usual optimizations."""
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    with tf.compat.v1.Session(graph=graph) as session:
        return session.run(outputs, feeds)


def run_onnx(model, feeds, outputs):
    """Values of tensors in onnxruntime without optimizations; ``model`` is a path or bytes."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(outputs, feeds)


class Quantized:
    """A min-max quantization: ``plan`` (write-back.json), ``numbers`` (its safetensors) and ``model`` (QDQ ONNX bytes).

    Weights int8 per output channel; activations uint8, or as ``formats`` says: tensor to (bits, signed, axis).
    """

    #: Operators whose inputs are rounded.
    READERS = (*LAYERS, "Add", "Mul", "Concat", "MaxPool", "AveragePool", "GlobalAveragePool", "Transpose", "Relu")

    def __init__(self, path, samples, formats=None, readers=READERS, exclude=()):
        import onnx
        from onnx import numpy_helper

        self.source = onnx.load(path)
        self.formats, self.readers, self.exclude = formats or {}, readers, set(exclude)
        graph = self.source.graph
        self.initializers = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
        self.by_input = {}
        for node in graph.node:
            for name in node.input:
                self.by_input.setdefault(name, []).append(node)
        self.plan = {"version": 1, "layers": [], "activations": []}
        self.numbers, self._replaced, self._removed, self._inner = {}, {}, {}, set()
        for node in graph.node:
            if node.op_type in LAYERS and node.name not in self.exclude and node.input[1] in self.initializers:
                self._layer(node)
        self._activations(self._values(samples))
        self.model = self._qdq()

    def save(self, folder):
        """Writes the safetensors file and the plan; returns the former's path."""
        from dopt import safetensors

        Path(folder).mkdir(parents=True, exist_ok=True)
        path = str(Path(folder) / "parameters.safetensors")
        safetensors.write(path, self.numbers)
        (Path(folder) / "write-back.json").write_text(json.dumps(self.plan))
        return path

    def _values(self, samples):
        import onnx

        shown = onnx.ModelProto()
        shown.CopyFrom(self.source)
        names = [name for node in shown.graph.node for name in node.output]
        del shown.graph.output[:]
        shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        runs = [dict(zip(names, run_onnx(shown.SerializeToString(), feeds, names)), **feeds) for feeds in samples]
        return {name: np.concatenate([run[name] for run in runs]) for name in runs[0] if runs[0][name].ndim}

    def _layer(self, node):
        weight = self.initializers[node.input[1]].astype(np.float64)
        axis = {"Conv": 0, "ConvTranspose": 1, "Gemm": int(_attribute(node, "transB"))}.get(node.op_type, weight.ndim - 1)
        axis = 1 - axis if node.op_type == "Gemm" else axis
        channels = weight.shape[axis]
        bias, reader, normalization, output = np.zeros(channels), [node.name, 2], None, node.output[0]
        following = self.by_input.get(node.output[0], [])
        after = following[0] if len(following) == 1 else None
        if node.op_type == "MatMul":
            reader = None
            if after is not None and after.op_type == "Add" and (set(after.input) & set(self.initializers)):
                index = [name in self.initializers for name in after.input].index(True)
                bias = self.initializers[after.input[index]].astype(np.float64).reshape(-1)
                if bias.size == channels:
                    reader, output = [after.name, index], after.output[0]
                    self._inner.add(node.output[0])
        elif len(node.input) > 2:
            bias = self.initializers[node.input[2]].astype(np.float64)
        if after is not None and after.op_type == "BatchNormalization":
            gamma, beta, mean, variance = (self.initializers[name].astype(np.float64) for name in after.input[1:5])
            epsilon = _attribute(after, "epsilon")
            gain = gamma / np.sqrt(variance + epsilon)
            weight, bias = weight * _along(gain, axis, weight.ndim), (bias - mean) * gain + beta
            keys = dict(zip(("gamma", "beta", "mean", "variance"), after.input[1:5]))
            normalization, output = {"node": after.name, **keys, "epsilon": epsilon}, after.output[0]
            self._removed[after.name] = (node.name, after.output[0])
        scale = np.max(np.abs(np.moveaxis(weight, axis, 0).reshape(channels, -1)), axis=1) / 127
        scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
        integers = np.clip(np.rint(weight / _along(scale, axis, weight.ndim)), -127, 127).astype(np.int8)
        self.numbers[f"{node.name}/weight/integers"] = integers
        self.numbers[f"{node.name}/weight/scale"] = scale
        self._replaced[node.name, 1] = integers.astype(np.float32) * _along(scale, axis, weight.ndim)
        if reader is not None:
            # The grid of s_x·s_w is far finer than what is tested here: any float32 serves.
            self.numbers[f"{node.name}/bias"] = self._replaced[tuple(reader)] = bias.astype(np.float32)
        groups = _attribute(node, "group") if node.op_type.startswith("Conv") else 1
        self.plan["layers"].append(
            {
                "name": node.name, "op": node.op_type, "weight": node.input[1], "weightIndex": 1, "axis": axis,
                "groups": groups, "input": node.input[0], "output": output, "batchNorm": normalization,
                "bias": reader and {"node": reader[0], "index": reader[1]},
            }
        )  # fmt: skip

    def _activations(self, values):
        produced = [value.name for value in self.source.graph.input]
        produced += [name for node in self.source.graph.node for name in node.output]
        for tensor in produced:
            readers = [
                {"node": node.name, "index": index}
                for node in {each.name: each for each in self.by_input.get(tensor, [])}.values()
                for index, name in enumerate(node.input)
                if name == tensor and node.op_type in self.readers and node.name not in self.exclude
            ]
            # Between a product and its bias lies no quantizer: the two are one layer.
            if not readers or tensor not in values or tensor in self._inner:
                continue
            bits, signed, axis = self.formats.get(tensor, (8, False, None))
            scale, zero_point = _grid(values[tensor], bits, signed, axis)
            self.numbers[f"{tensor}/scale"], self.numbers[f"{tensor}/zero_point"] = scale, zero_point
            entry = {"tensor": tensor, "bits": bits, "signed": signed, "axis": axis, "readers": readers}
            self.plan["activations"].append(entry)

    def _qdq(self):
        import onnx
        from onnx import helper, numpy_helper

        model = onnx.ModelProto()
        model.CopyFrom(self.source)
        graph = model.graph
        nodes = [node for node in graph.node if node.name not in self._removed]
        by_name = {node.name: node for node in nodes}
        for layer, output in self._removed.values():
            by_name[layer].output[0] = output
        for (name, index), value in self._replaced.items():
            constant = f"{name}/input{index}"
            graph.initializer.append(numpy_helper.from_array(value, constant))
            inputs = by_name[name].input
            inputs.extend([""] * (index + 1 - len(inputs)))
            inputs[index] = constant
        added = {}
        for entry in self.plan["activations"]:
            tensor, axis = entry["tensor"], entry["axis"]
            scale, zero_point = self.numbers[f"{tensor}/scale"], self.numbers[f"{tensor}/zero_point"]
            integers = zero_point.astype(np.int8 if entry["signed"] else np.uint8)
            shape = scale.shape if axis is not None else ()
            graph.initializer.append(numpy_helper.from_array(scale.reshape(shape), f"{tensor}/scale"))
            graph.initializer.append(numpy_helper.from_array(integers.reshape(shape), f"{tensor}/zero_point"))
            names, extra = [f"{tensor}/scale", f"{tensor}/zero_point"], {} if axis is None else {"axis": axis}
            added[tensor] = [
                helper.make_node("QuantizeLinear", [tensor, *names], [f"{tensor}/q"], **extra),
                helper.make_node("DequantizeLinear", [f"{tensor}/q", *names], [f"{tensor}/dq"], **extra),
            ]
            for reader in entry["readers"]:
                by_name[reader["node"]].input[reader["index"]] = f"{tensor}/dq"
        ordered = [pair for value in graph.input for pair in added.get(value.name, [])]
        for node in nodes:
            ordered += [node, *(pair for name in node.output for pair in added.get(name, []))]
        copies = [type(node).FromString(node.SerializeToString()) for node in ordered]
        del graph.node[:]
        graph.node.extend(copies)
        return model.SerializeToString()


def inputs(count, seed=7):
    """Random feeds for ``x:0``."""
    rng = np.random.default_rng(seed)
    return [{"x:0": rng.standard_normal(SHAPE).astype(np.float32)} for _ in range(count)]


class Case:
    """A graph with its ONNX form and a quantization of it."""

    def __init__(self, build, folder, **options):
        self.graph = freeze(build, SHAPE)
        self.path = convert(self.graph, {"x:0": SHAPE}, ["out:0"], folder)
        self.quantize(folder, **options)

    def quantize(self, folder, **options):
        """Takes another quantization; ``options`` as Quantized has them."""
        self.quantized = Quantized(self.path, inputs(6), **options)
        self.parameters = self.quantized.save(folder)

    def write(self, fake_quant):
        """The graph with the quantization, notes and activations that are not rounded."""
        from dopt.doors.tensorflow.write_back import WriteBack

        borders = borders_of(["x:0"], ["out:0"])
        return WriteBack(self.graph, self.path, self.quantized.plan, self.parameters, borders, "net.pb").graph(fake_quant)

    def compare(self, graph):
        """Share of elements that agree to float precision, and the largest difference, both over the largest value."""
        expected = np.concatenate([run_onnx(self.quantized.model, feeds, ["out:0"])[0] for feeds in inputs(8, seed=3)])
        found = np.concatenate([run_graph(graph, feeds, ["out:0"])[0] for feeds in inputs(8, seed=3)])
        difference = np.abs(expected - found) / np.max(np.abs(expected))
        return np.mean(difference < 2e-6), difference.max()


def _grid(value, bits, signed, axis):
    low_integer = -(1 << bits - 1) if signed else 0
    rows = np.moveaxis(value, axis, 0).reshape(value.shape[axis], -1) if axis is not None else value.reshape(1, -1)
    low, high = np.minimum(rows.min(axis=1), 0.0), np.maximum(rows.max(axis=1), 0.0)
    scale = np.where(high > low, (high - low) / ((1 << bits) - 1), 1.0).astype(np.float32)
    return scale, np.rint(low_integer - low / scale).astype(np.int32)


def _along(values, axis, rank):
    shape = [1] * rank
    shape[axis] = -1
    return np.asarray(values).reshape(shape)


def _attribute(node, name):
    from onnx import helper

    found = next((each for each in node.attribute if each.name == name), None)
    return {"epsilon": 1e-5, "group": 1}.get(name, 0) if found is None else helper.get_attribute_value(found)
