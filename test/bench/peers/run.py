"""One quantization by another tool, as a peer for docs/benchmarks.md.

    python -m peers.run PEER CONFIG MODEL SAMPLES.json OUT.onnx GIGABYTES

PEER is a module beside this file with one function ``quantize(model, samples, config, out)``: quantizes the ONNX file at
path ``model`` on ``samples`` (``Samples``) as CONFIG of its ``CONFIGS`` says, and writes a QDQ model to ``out``. MODEL is
the float.onnx that dopt's capture left, at opset 13 or newer, with shapes, without initializers among its inputs. All tools
get it as onnxruntime's basic optimizations leave it: batch normalization folded, which some tools ask for and others do not
do themselves (without, NNCF finds no biases to correct). A tool that asks for more than GIGABYTES of memory gets none. Prints one JSON object as its last line: seconds and peak memory of the quantization, the tool's version.
"""
import importlib
import importlib.metadata
import json
import os
import resource
import sys
import tempfile
import time

import onnx
import onnxruntime

from .samples import Samples


def folded(model, folder):
    """Path of the model in one file (not every tool looks for external data) with batch normalization folded."""
    whole, out = (os.path.join(folder, name) for name in ("whole.onnx", "float.onnx"))
    onnx.save(onnx.load(model), whole)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = out
    onnxruntime.InferenceSession(whole, options, providers=["CPUExecutionProvider"])
    onnx.save(onnx.shape_inference.infer_shapes(onnx.load(out)), out)
    return out


def without_probes(out, model):
    """Takes outputs away that the float model does not have: Quark leaves what it corrected biases by."""
    quantized = onnx.load(out)
    names = {output.name for output in onnx.load(model, load_external_data=False).graph.output}
    kept = [output for output in quantized.graph.output if output.name in names]
    if len(kept) < len(quantized.graph.output):
        del quantized.graph.output[:]
        quantized.graph.output.extend(kept)
        onnx.save(quantized, out)


def main():
    peer, config, model, samples, out, gigabytes = sys.argv[1:]
    limit = int(float(gigabytes) * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    module = importlib.import_module("peers." + peer)
    if config not in module.CONFIGS:
        sys.exit("CONFIG is one of: " + ", ".join(module.CONFIGS))
    with tempfile.TemporaryDirectory() as folder:
        prepared = folded(model, folder)
        before = os.getcwd()
        os.chdir(folder)  # some leave files where they stand
        started = time.monotonic()
        module.quantize(prepared, Samples(samples), config, out)
        seconds = time.monotonic() - started
        os.chdir(before)
        without_probes(out, prepared)
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    version = importlib.metadata.version(module.PACKAGE)
    # On a line of its own, whatever a progress bar left.
    print("\n" + json.dumps({"seconds": seconds, "peakBytes": peak * 1024, "version": version}))


if __name__ == "__main__":
    main()
