"""What a GPU gains in calibration and in the blocks of a language model, beside the processor of the same machine.

    python python/bench/gpu_executors.py [--out FILE] [--device cpu|cuda] [--small]

``network``: one pass of observation over pictures through a network of the shape of ResNet-50 with random weights, by
onnxruntime on the processor and by PyTorch on the device. ``llm``: two blocks of the shape of Llama-3.1-8B with random weights,
quantized with effort ``fast``'s solver: seconds a block, without those of embedding and head. ``--small`` shrinks both to
seconds on a processor and ``--device cpu`` leaves the GPU out, so that the program itself can be tried anywhere.
"""

import argparse
import json
import os
import sys
import tempfile
import time

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

FAST = {
    "scales": "weighted", "rounding": "gptq", "actOrder": True, "damping": 0.01, "dampingMost": 0.1, "ridges": [], "crossEvery": 1, "heads": True, "refit": True,
    "sweeps": 1, "polish": 0, "heldBack": 16, "sequential": True, "rotate": "never",
}  # fmt: skip


def main():
    """Runs both parts and writes a JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default=None)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args()
    gpu = 0 if given.device == "cuda" else None
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, part in (("network", network), ("llm", llm)):
            try:
                found[name] = part(folder, gpu, given.small)
            except ImportError as error:
                found[name] = {"left out": str(error)}
            print(json.dumps({name: found[name]}), flush=True)
    if given.out:
        with open(given.out, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)


def network(folder, gpu, small):
    """Seconds a sample of observing every tensor."""
    import onnx

    from dopt.events import Events
    from dopt.execute.observe import observe

    side, blocks, count = (32, (1, 1, 1, 1), 4) if small else (224, (3, 4, 6, 3), 64)
    path, tensors = os.path.join(folder, "net.onnx"), []
    onnx.save(residual(side, blocks, tensors), path)
    np.save(os.path.join(folder, "x.npy"), np.random.RandomState(0).randn(count, 3, side, side).astype(np.float32))
    preprocess = {"color": "rgb", "interpolation": "bilinear", "mean": 0, "std": 1, "layout": "nchw"}
    inputs = [{"name": "x", "dtype": "float32", "shape": [1, 3, side, side]}]
    source = {"path": os.path.join(folder, "x.npy"), "preprocess": preprocess, "inputs": inputs, "indices": None, "skipBad": False}
    answers = {}
    for name, executor in (("processor", None), ("device", {"kind": "torch", "gpu": gpu})):
        params = {"model": path, "tensors": tensors, "source": source, "out": os.path.join(folder, name), "bins": 2048}
        for _ in range(2):  # the first pass builds sessions and chooses kernels
            answer = observe({**params, "threads": os.cpu_count(), "executor": executor}, Events())
        answers[name] = {key: answer[key] for key in ("seconds", "inferenceSeconds", "observerSeconds", "executor")}
    return {"samples": count, "tensors": len(tensors), **answers}


def residual(side, blocks, tensors):
    """A residual network of bottlenecks; the names of what quantizers would be placed on go into ``tensors``."""
    from onnx import TensorProto, helper, numpy_helper

    random, nodes, constants = np.random.RandomState(0), [], []

    def conv(source, inputs, outputs, kernel, stride=1):
        name = f"c{len(nodes)}"
        weight = random.randn(outputs, inputs, kernel, kernel) / np.sqrt(inputs * kernel * kernel)
        constants.append(numpy_helper.from_array(weight.astype(np.float32), name + "_w"))
        pads = [kernel // 2] * 4
        nodes.append(helper.make_node("Conv", [source, name + "_w"], [name], name, pads=pads, strides=[stride] * 2))
        return name

    def relu(source):
        nodes.append(helper.make_node("Relu", [source], [source + "_r"]))
        tensors.append(source + "_r")
        return source + "_r"

    now, channels = relu(conv("x", 3, 64, 7, 2)), 64
    nodes.append(helper.make_node("MaxPool", [now], ["pool"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]))
    now = "pool"
    for stage, count in enumerate(blocks):
        width = 64 << stage
        for at in range(count):
            stride = 2 if stage > 0 and at == 0 else 1
            inner = relu(conv(relu(conv(now, channels, width, 1)), width, width, 3, stride))
            short = now if channels == 4 * width and stride == 1 else conv(now, channels, 4 * width, 1, stride)
            total = f"s{len(nodes)}"
            nodes.append(helper.make_node("Add", [conv(inner, width, 4 * width, 1), short], [total]))
            now, channels = relu(total), 4 * width
    nodes.append(helper.make_node("GlobalAveragePool", [now], ["y"]))
    shapes = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, side, side])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, channels, 1, 1])]
    graph = helper.make_graph(nodes, "net", shapes, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


def llm(folder, gpu, small):
    """Seconds a block on the device, at two sizes of calibration."""
    import torch
    import transformers

    from dopt.events import Events
    from dopt.llm.inspect import describe
    from dopt.llm.load import open_model
    from dopt.llm.quantize import quantize

    transformers.utils.logging.set_verbosity_error()
    sizes = dict(hidden_size=4096, intermediate_size=14336, num_attention_heads=32, num_key_value_heads=8, vocab_size=1024)
    if small:
        sizes = dict(hidden_size=64, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2, vocab_size=256)
    model = os.path.join(folder, "model")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(num_hidden_layers=2, bos_token_id=1, eos_token_id=2, **sizes)
    transformers.AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(model)
    tokens = os.path.join(folder, "ids.npy")
    np.save(tokens, np.random.RandomState(0).randint(3, sizes["vocab_size"], 1 << 19))
    linears = [
        {"name": each["name"], "bits": 4, "groupSize": 32 if small else 128, "fullRange": True, "strategy": "bench"}
        for each in describe(open_model(model))["linears"]
        if not each["head"]
    ]
    answers = []
    for samples, length in ((8, 64),) if small else ((16, 512), (128, 2048)):
        text = {"files": [tokens], "samples": samples, "length": length, "chat": False, "bos": True}
        rest = {"embeddingBits": None, "activations": None, "batch": 4, "threads": os.cpu_count(), "lockstep": False}
        out = os.path.join(folder, f"q{samples}")
        began = time.monotonic()
        params = {"model": model, "trustRemoteCode": False, "out": out, "calibration": text, "linears": linears, "solver": FAST}
        result = quantize({**params, **rest, "resume": False, "seed": 0, "gpu": gpu}, Events())
        peak = torch.cuda.max_memory_allocated() if gpu is not None else None
        blocks = [each["seconds"] for each in result["blocks"]]
        answers.append({"tokens": samples * length, "blocks": blocks, "whole": time.monotonic() - began, "memory": peak})
        print(json.dumps(answers[-1]), flush=True)
    return answers


if __name__ == "__main__":
    main()
