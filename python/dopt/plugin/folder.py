"""The result folder of the plug-in: files and names of a run of ``dopt quantize``, so that every command reads it.

NAME.int8.onnx, quant_params.json, plan.json, result.json, manifest.json, and under stages/ the float model and the edits.
"""

import hashlib
import json
import os
import platform
import sys
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from dopt import __version__
from dopt.errors import DoptError
from dopt.plugin.edits import Edits, quantized_graph
from dopt.plugin.numbers import Network
from dopt.plugin.params import quant_params
from dopt.plugin.plan import float_nodes, plan


class Origin(NamedTuple):
    """Where a network comes from, for the record. ``state``: the file with the trained values, None when in memory."""

    state: Optional[str]
    samples: int
    versions: Dict[str, str]
    warnings: List[str]
    started: float


class Written(NamedTuple):
    """Paths of the results."""

    folder: str
    quantized: str
    float_model: str
    parameters: str
    #: Quantized tensors of the model by the name of their quantizer.
    tensors: Dict[str, List[str]]


#: Writes further files from the captured graph, its path, and the edits; returns their paths, and notes.
Further = Callable[[Dict[str, Any], str, Edits], Tuple[List[str], List[str]]]


def write_folder(
    out: str,
    exported: str,
    network: Network,
    origin: Origin,
    check: Callable[[str, Dict[str, List[str]]], List[str]],
    further: Optional[Further] = None,
) -> Written:
    """Captures ``exported`` (the float network as ONNX), writes its quantized form and everything beside it into ``out``.

    check(model, tensors) looks at the written model before anything else is said about it, and returns notes. ``further``
    adds the network in its framework's own form.
    Needs onnx and onnxruntime. Raises DoptError OUTPUT_WRITE, PLUGIN_EXPORT, and those of capture and rewrite.
    """
    from dopt import safetensors
    from dopt.apply.onnx import rewrite
    from dopt.capture.onnx import capture
    from dopt.events import Events

    stages = {name: os.path.join(out, "stages", name) for name in ("capture", "apply")}
    try:
        for folder in stages.values():
            os.makedirs(folder, exist_ok=True)
        asked = {"model": exported, "out": stages["capture"], "inputShapes": {}, "outputs": None, "float16ToFloat32": False}
        captured = capture({**asked, "seed": 0}, Events())
        with open(captured["graph"], encoding="utf-8") as file:
            graph = json.load(file)
        edits = quantized_graph(graph, network)
        network = network._replace(layers=edits.layers)
        written = _json(os.path.join(stages["apply"], "rewrite.json"), edits.rewrite())
        parameters = os.path.join(stages["apply"], "parameters.safetensors")
        safetensors.write(parameters, edits.parameters)
        wide = any(quantizer.grid.bits == 16 for quantizer in network.quantizers)
        model = os.path.join(out, f"{network.name}.{'int16' if network.widths.startswith('int16') else 'int8'}.onnx")
        rewrite({
            "model": captured["model"],
            "rewrite": written,
            "parameters": parameters,
            "out": model,
            "externalDataAbove": None,
            # onnxruntime before 1.17 has no 16-bit operators.
            "check": "structure" if wide else "load",
        }, Events())
        tensors: Dict[str, List[str]] = {}
        for tensor, quantizer in edits.activations:
            tensors.setdefault(quantizer.name, []).append(tensor)
        captured["notes"] = captured["notes"] + check(model, tensors)
        more, notes = further(graph, captured["model"], edits) if further else ([], [])
        captured["notes"] = captured["notes"] + notes
        params = _describe(out, network, origin, captured, graph, edits, [model, *more])
    except OSError as error:
        raise DoptError(
            "OUTPUT_WRITE", f"Cannot write into {out}: {error.strerror or error}.", kind="environment", place=out
        ) from error
    return Written(out, model, captured["model"], params, tensors)


def _describe(
    out: str,
    network: Network,
    origin: Origin,
    captured: Dict[str, Any],
    graph: Dict[str, Any],
    edits: Edits,
    models: List[str],
) -> str:
    """Writes the JSON files; returns the path of quant_params.json. ``models``: the quantized ONNX model first."""
    left = float_nodes(network, graph)
    placed = plan(network, edits, graph, left)
    _json(os.path.join(out, "plan.json"), placed)
    params = _json(
        os.path.join(out, "quant_params.json"), quant_params(network, edits.activations, edits.axes, graph, left)
    )
    files = {os.path.basename(path): _digest(path, out) for path in (*models, params)}
    result = _result(network, origin, captured, placed, models[0], files)
    _json(os.path.join(out, "result.json"), result)
    finished = time.time()
    manifest = {
        "version": 1,
        "dopt": __version__,
        "state": "finished",
        "command": result["command"],
        "started": _iso(origin.started),
        "finished": _iso(finished),
        "details": {"settings": result["settings"], "versions": result["versions"]},
        "files": {**files, "result.json": _digest(os.path.join(out, "result.json"), out)},
    }
    _json(os.path.join(out, "manifest.json"), manifest)
    return params


def _result(
    network: Network,
    origin: Origin,
    captured: Dict[str, Any],
    placed: Dict[str, Any],
    model: str,
    files: Dict[str, Any],
) -> Dict[str, Any]:
    wide = [quantizer for quantizer in network.quantizers if quantizer.grid.bits == 16]
    state = _digest(origin.state, None) if origin.state else {"path": "in memory", "bytes": 0, "sha256": ""}
    parity = captured["parity"]
    weights = os.path.join(os.path.dirname(captured["model"]), "weights.safetensors")
    float_bytes = sum(os.path.getsize(path) for path in (captured["model"], weights) if os.path.exists(path))
    seconds = round(time.time() - origin.started, 3)
    return {
        "version": 1,
        "dopt": __version__,
        "model": {
            "name": network.name,
            "source": state,
            "opset": captured["opset"],
            "nodes": len(placed["groups"]),
            "notes": captured["notes"],
            "parity": {
                key: parity[key]
                for key in ("executor", "samples", "maxAbsoluteDifference", "maxRelativeDifference")
            },
        },
        "settings": {
            "strategy": network.widths,
            "target": network.target,
            "weightsGranularity": "channel",
            "calibration": "mse",
            "effort": "trained",
            "without": [],
            "recipe": None,
            "exclude": [layer.name for layer in network.float_layers],
            "precision": {"int16": [], "float": []},
            "seed": 0,
        },
        "data": {
            "calibration": {
                "path": state["path"],
                "sha256": state["sha256"],
                "samples": origin.samples,
                "skipped": [],
            },
            "verification": None,
            "disjoint": False,
        },
        "quantization": {
            "activations": len(network.quantizers),
            "int16": len(wide),
            "weights": len(network.layers),
            "floatNodes": placed["floatNodes"],
        },
        "sizes": {"float": float_bytes, "quantized": os.path.getsize(model)},
        "verification": None,
        "precision": None,
        "door": None,
        "stages": [{"name": "train", "seconds": seconds, "reused": False, "peakBytes": None}],
        "seconds": seconds,
        "peakBytes": None,
        "warnings": origin.warnings,
        "command": [os.path.basename(sys.executable), *sys.argv],
        "versions": {"python": platform.python_version(), **origin.versions},
        "files": files,
    }


def _digest(path: str, base: Optional[str]) -> Dict[str, Any]:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    named = os.path.relpath(path, base) if base else os.path.abspath(path)
    return {"path": named, "bytes": os.path.getsize(path), "sha256": digest.hexdigest()}


def _json(path: str, value: Any) -> str:
    """Writes a file that appears under its name only when it is whole."""
    with open(f"{path}.part", "w", encoding="utf-8") as file:
        file.write(json.dumps(value, indent=1, allow_nan=False) + "\n")
    os.replace(f"{path}.part", path)
    return path


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
