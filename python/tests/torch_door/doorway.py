"""What the tests of the PyTorch door share: networks written to files, conversion, and write-back by a plain min-max plan."""

import json
from pathlib import Path

import numpy as np
import torch
from dopt import safetensors
from dopt.doors.torch import door
from dopt.events import Events

HEAD = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"


def user_file(folder, source, make="Net()", name="net"):
    """Writes a .py, makes its network with random weights and statistics, and saves them; (py, pth, network)."""
    path = Path(folder) / f"{name}.py"
    path.write_text(HEAD + source)
    space = {}
    exec(compile(path.read_text(), str(path), "exec"), space)  # noqa: S102 - our own text
    torch.manual_seed(1)
    network = eval(make, space).eval()  # noqa: S307
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                module.weight.data.uniform_(0.5, 1.5)
                module.bias.data.normal_()
    weights = Path(folder) / f"{name}.pth"
    torch.save(network.state_dict(), weights)
    return str(path), str(weights), network


def model_params(path, weights, shapes, **more):
    return {
        "framework": "pytorch",
        "model": str(path),
        "weights": weights and str(weights),
        "className": more.pop("className", None),
        "inputShapes": shapes,
        "outputs": more.pop("outputs", None),
        "trustCode": False,
    }


def convert(folder, path, weights, shapes, **more):
    out = Path(folder) / "converted"
    out.mkdir(exist_ok=True)
    return door.convert({**model_params(path, weights, shapes, **more), "out": str(out), "seed": 0}, Events())


def capture(folder, converted):
    """float.onnx and graph.json of a conversion."""
    from dopt.capture.onnx import capture as run

    out = Path(folder) / "captured"
    out.mkdir(exist_ok=True)
    params = {"model": converted["model"], "out": str(out), "inputShapes": {}, "outputs": None, "float16ToFloat32": False, "seed": 0}
    result = run(params, Events())
    return result["model"], json.loads(Path(result["graph"]).read_text())


class Plan:
    """A quantization by minimum and maximum of everything that Conv, ConvTranspose, Gemm and MatMul read."""

    def __init__(self, folder, float_onnx, graph, feeds):
        import onnx
        from onnx import numpy_helper

        self.folder, self.float_onnx, self.graph, self.feeds = Path(folder), float_onnx, graph, feeds
        model = onnx.load(float_onnx)
        self.weights = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
        self.numbers, self.layers, self.products, self.activations = {}, [], [], []
        readers = {}
        for node in graph["nodes"]:
            for name in node["inputs"]:
                readers.setdefault(name, []).append(node)
        for node in graph["nodes"]:
            if node["op"] in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
                if node["inputs"][1] in self.weights:
                    self._layer(node, readers)
                else:
                    self.products.append(node)
        self._activations(model)

    def _layer(self, node, readers):
        op, weight = node["op"], self.weights[node["inputs"][1]].astype(np.float64)
        out = node["outputs"][0]
        groups = int(node["attributes"].get("group", 1))
        trans = bool(node["attributes"].get("transB", 0))
        axis = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0 if trans else 1, "MatMul": 1}[op]
        bias = self.weights[node["inputs"][2]].astype(np.float64) if len(node["inputs"]) > 2 else None
        follower = readers.get(out, [])
        normalization = follower[0] if len(follower) == 1 and follower[0]["op"] == "BatchNormalization" else None
        gain = None
        if normalization:
            gamma, beta, mean, variance = (self.weights[name].astype(np.float64) for name in normalization["inputs"][1:5])
            epsilon = normalization["attributes"].get("epsilon", 1e-5)
            gain = gamma / np.sqrt(variance + epsilon)
            if op == "ConvTranspose":
                cog = weight.shape[1]
                rows = gain.reshape(groups, cog)[np.arange(weight.shape[0]) // (weight.shape[0] // groups)]
                weight = weight * rows[:, :, None, None]
            else:
                weight = weight * gain.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
            bias = ((0 if bias is None else bias) - mean) * gain + beta
        channels = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
        scale = np.maximum(np.abs(channels).max(1) / 127, 1e-12).astype(np.float32)
        shaped = scale.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
        name = node["name"]
        self.numbers[f"{name}/weight/integers"] = np.clip(np.round(weight / shaped), -127, 127).astype(np.int8)
        self.numbers[f"{name}/weight/scale"] = scale
        if bias is not None:
            self.numbers[f"{name}/bias"] = bias.astype(np.float32)
        keys = ("node", "gamma", "beta", "mean", "variance")
        self.layers.append(
            {
                **{"name": name, "op": op, "weight": node["inputs"][1], "weightIndex": 1, "axis": axis, "groups": groups},
                **{"input": node["inputs"][0], "output": normalization["outputs"][0] if normalization else out},
                "batchNorm": normalization
                and {**dict(zip(keys, [normalization["name"], *normalization["inputs"][1:5]])), "epsilon": epsilon},
                "bias": {"node": name, "index": 2} if bias is not None else None,
            }
        )

    def _activations(self, model):
        import onnx
        from dopt.capture.runner import Session

        inputs = {each["name"] for each in self.graph["inputs"]}
        reads = [(layer["input"], layer["name"], 0) for layer in self.layers]
        reads += [(name, node["name"], index) for node in self.products for index, name in enumerate(node["inputs"])]
        tensors = list(dict.fromkeys(tensor for tensor, _, _ in reads))
        inner = [name for name in tensors if name not in inputs]
        probe = onnx.ModelProto()
        probe.CopyFrom(model)
        del probe.graph.output[:]
        probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
        values = dict(self.feeds)
        if inner:
            path = self.folder / "captured" / "probe.onnx"
            onnx.save(probe, str(path))
            values.update(zip(inner, Session(str(path)).run(inner, self.feeds)))
        for name in tensors:
            low, high = min(0.0, float(values[name].min())), max(0.0, float(values[name].max()))
            scale = np.float32(max(high - low, 1e-6) / 255)
            self.numbers[f"{name}/scale"] = np.array([scale], np.float32)
            self.numbers[f"{name}/zero_point"] = np.array([int(round(-low / float(scale)))], np.int32)
            readers = [{"node": node, "index": index} for tensor, node, index in reads if tensor == name]
            self.activations.append({"tensor": name, "bits": 8, "signed": False, "axis": None, "readers": readers})

    def params(self, model, borders, out):
        """Parameters of ``writeBack``."""
        plan, numbers = self.folder / "write-back.json", self.folder / "numbers.safetensors"
        plan.write_text(json.dumps({"version": 1, "layers": self.layers, "activations": self.activations}))
        safetensors.write(str(numbers), self.numbers)
        files = {"onnx": self.float_onnx, "writeBack": str(plan), "parameters": str(numbers), "out": str(out)}
        return {**model, "borders": borders, **files, "fakeQuantOut": None}

    def run(self, feeds, outputs):
        """The quantized network in numpy and onnxruntime: float.onnx with rounded weights and QDQ activations."""
        import onnx
        from dopt.capture.runner import Session
        from onnx import helper, numpy_helper

        model = onnx.load(self.float_onnx)
        nodes = {node.name: node for node in model.graph.node}
        added, removed = [], set()
        for layer in self.layers:
            node, name = nodes[layer["name"]], layer["name"]
            scale = self.numbers[f"{name}/weight/scale"]
            integers = self.numbers[f"{name}/weight/integers"]
            value = integers * scale.reshape([-1 if i == layer["axis"] else 1 for i in range(integers.ndim)])
            model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), f"{name}/w"))
            node.input[1] = f"{name}/w"
            if layer["bias"]:
                model.graph.initializer.append(numpy_helper.from_array(self.numbers[f"{name}/bias"], f"{name}/b"))
                del node.input[2:]
                node.input.append(f"{name}/b")
            if layer["batchNorm"]:
                removed.add(layer["batchNorm"]["node"])
                node.output[0] = layer["output"]
        for activation in self.activations:
            name = activation["tensor"]
            zero = self.numbers[f"{name}/zero_point"].astype(np.uint8)[0]
            model.graph.initializer.append(numpy_helper.from_array(np.array(self.numbers[f"{name}/scale"][0]), f"{name}/s"))
            model.graph.initializer.append(numpy_helper.from_array(np.array(zero), f"{name}/z"))
            added.append(helper.make_node("QuantizeLinear", [name, f"{name}/s", f"{name}/z"], [f"{name}/q"]))
            added.append(helper.make_node("DequantizeLinear", [f"{name}/q", f"{name}/s", f"{name}/z"], [f"{name}/d"]))
            for reader in activation["readers"]:
                nodes[reader["node"]].input[reader["index"]] = f"{name}/d"
        from dopt.capture.normalize import topological_order

        kept = [node for node in model.graph.node if node.name not in removed] + added
        ordered = [kept[index] for index in topological_order(kept)]
        del model.graph.node[:]
        model.graph.node.extend(ordered)
        path = self.folder / "captured" / "quantized.onnx"
        onnx.save(model, str(path))
        return Session(str(path)).run(outputs, feeds)
