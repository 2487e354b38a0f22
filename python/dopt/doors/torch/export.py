"""A network as ONNX: names of weights and batch normalization kept, sizes as numbers, the batch open where it can be."""

import os
from typing import Any, Dict, List, Sequence

from dopt.doors.torch.border import InputSpec, flatten
from dopt.doors.torch.patches import export_settings, exportable
from dopt.errors import DoptError, in_a_line


def export(
    network: Any, specs: List[InputSpec], outputs: Sequence[str], path: str, out: str, open_batch: bool
) -> str:
    """Writes ``out``/model.onnx and returns its path. Raises DoptError MODEL_EXPORT with torch's message and, where known, the operator."""
    import torch

    from dopt.doors.torch.runner import random_feeds

    target = os.path.join(out, "model.onnx")
    feeds = random_feeds(specs, 1, None, 1.0)
    arguments = tuple(torch.from_numpy(feeds[spec.name]) for spec in specs)
    names = [spec.name for spec in specs]
    settings: Dict[str, Any] = {
        **export_settings(),
        # PRESERVE keeps batch normalization and the names of weights; the network is in evaluation mode already.
        "training": torch.onnx.TrainingMode.PRESERVE,
        "input_names": names,
        "output_names": list(outputs),
        "dynamic_axes": {name: {0: "batch"} for name in [*names, *outputs]} if open_batch else None,
    }
    flat = _flattened(network, outputs)
    try:
        with torch.no_grad(), exportable(fixed_batch=not open_batch):
            torch.onnx.export(network, arguments, target, **settings)
    except Exception as error:  # noqa: BLE001 - torch raises many types here.
        raise _failed(path, error) from error
    finally:
        if flat:
            del network.forward
    separate_parameters(target)
    return target


def separate_parameters(path: str) -> None:
    """Gives parameters that torch 2 merges, because their numbers are equal, a tensor each again.

    It writes the second one as Identity of the first, and then nothing tells to which layer a number belongs: fresh
    normalizations share one beta, though quantization corrects each of them differently.
    """
    import onnx

    model = onnx.load(path)
    graph = model.graph
    parameters = {each.name: each for each in graph.initializer}
    kept = []
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in parameters:
            copy = graph.initializer.add()
            copy.CopyFrom(parameters[node.input[0]])
            copy.name = node.output[0]
            parameters[copy.name] = copy
        else:
            kept.append(node)
    if len(kept) < len(graph.node):
        del graph.node[:]
        graph.node.extend(kept)
        onnx.save(model, path)


def _flattened(network: Any, outputs: Sequence[str]) -> bool:
    """Lets forward() give a tuple of the wanted tensors; True when it was changed. TorchScript stays as it is."""
    import functools

    import torch

    if isinstance(network, torch.jit.ScriptModule):
        return False
    original = network.forward

    @functools.wraps(original)
    def forward(*arguments: Any, **more: Any) -> Any:
        found = flatten(original(*arguments, **more))
        return tuple(found[name] for name in outputs)

    network.forward = forward
    return True


def _failed(path: str, error: BaseException) -> DoptError:
    import re

    operator = re.search(r"\b(?:operator|op)\b:?\s*'?(?:aten::)?(\w+)'?", str(error))
    suggestions = ["Report the network: dopt's own form of the operator may be missing."]
    if operator:
        suggestions.insert(0, f"Spell {operator.group(1)} with other operators in the network's forward().")
    return DoptError(
        "MODEL_EXPORT",
        f"{path}: torch cannot export the network: {in_a_line(error, 400)}",
        kind="external",
        place=path,
        suggestions=suggestions,
    )
