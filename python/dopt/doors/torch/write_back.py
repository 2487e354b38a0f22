"""A quantization back into the user's weights file.

The user's layout stays, and its class loads the file strictly: every tensor keeps its name and shape. Integers q and
scales s were made of the weight with its batch normalization folded in; the weight is stored as q·s and the normalization
becomes the identity plus the corrected bias (normalization.py), so that the network computes with numbers on the grid.
"""

import io
import json
import os
from collections import Counter, OrderedDict
from typing import Any, Dict, List, NamedTuple, Optional

from dopt.data.raw import write_error
from dopt.doors.common.files import describe
from dopt.doors.torch.normalization import along, can_be_identity, gain_of, make_identity, shift_kept, unfolded
from dopt.doors.torch.owners import Owner, Owners, put
from dopt.doors.torch.quantized import VERSION
from dopt.errors import DoptError


class Written(NamedTuple):
    """A state dict on the grid, the scales of its weights, notes, the module that holds each layer's weight, and weights
    that have no place in it."""

    state: Dict[str, Any]
    weights: Dict[str, Any]
    notes: List[str]
    module_of: Dict[str, str]
    unmapped: List[Dict[str, str]]


def write_back(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``writeBack`` of src/bridge/protocol.ts for PyTorch.

    Writes a file of the form of the user's own, with the quantization beside it (entry.py); TorchScript: the program with
    other parameters. Raises DoptError WRITE_BACK_UNMAPPED when no weight is a tensor of the network, and OUTPUT_WRITE.
    """
    import onnx
    import torch

    from dopt import safetensors
    from dopt.doors.torch.checkpoint import load_checkpoint
    from dopt.doors.torch.entry import attach
    from dopt.doors.torch.network import open_network
    from dopt.doors.torch.places import find_places

    opened = open_network(params)
    with open(params["writeBack"], encoding="utf-8") as file:
        plan = json.load(file)
    numbers = safetensors.read(params["parameters"])
    state = OrderedDict((name, value.detach().clone()) for name, value in opened.network.state_dict().items())
    written = rewrite_state(state, plan, numbers, onnx.load(params["onnx"]))
    if not written.weights:
        raise _nothing_mapped(params["model"], opened.script)
    buffer = io.BytesIO()
    entry = {"version": VERSION, "weights": written.weights, "inputs": {}, "calls": {}}
    if opened.script:
        opened.network.load_state_dict(written.state)
        torch.jit.save(opened.network, buffer, _extra_files={"dopt.json": json.dumps(entry)})
        unmapped = [
            {"tensor": each["tensor"], "reason": "a TorchScript program takes no hooks at its layers"}
            for each in plan["activations"]
        ]
    else:
        checkpoint = load_checkpoint(params["weights"])
        named = _named_as(checkpoint.state, state, written)
        places = find_places(opened.network, params, plan, numbers, written.module_of)
        attach(named, {**entry, "inputs": places.inputs, "calls": places.calls})
        value: Any = named
        for key in reversed(checkpoint.wrapper):
            value = {key: value}
        torch.save(value, buffer)
        unmapped = places.unmapped
    unmapped = written.unmapped + unmapped
    _save(params["out"], buffer.getvalue())
    return {"files": [describe(params["out"])], "notes": written.notes, "unmapped": unmapped}


def rewrite_state(state: Dict[str, Any], plan: Dict[str, Any], numbers: Dict[str, Any], model: Any) -> Written:
    """The state dict with weights on the grid; ``plan``: write-back.json; ``model``: the ModelProto of float.onnx."""
    from onnx import numpy_helper

    initializers = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    uses = Counter(name for node in model.graph.node for name in node.input)
    owners = Owners(state)
    written = Written(OrderedDict(state), {}, [], {}, [])
    shared: Dict[Owner, Any] = {}
    for layer in plan["layers"]:
        owner = owners.find(layer["weight"], initializers[layer["weight"]])
        if owner is None:
            reason = "the network computes this weight, so no tensor of its weights file holds it"
            written.unmapped.append({"tensor": layer["weight"], "reason": reason})
            continue
        written.module_of[layer["name"]] = owner.name.rpartition(".")[0]
        integers, scale = (numbers[f"{layer['name']}/weight/{part}"] for part in ("integers", "scale"))
        bias = numbers.get(layer["name"] + "/bias")
        if owner in shared:
            if not all(map(_alike, shared[owner], (integers, scale, bias))):
                written.notes.append(f"{owner.name} is used by several layers; the file holds weights and bias of the first.")
            continue
        shared[owner] = (integers, scale, bias)
        value, divided = integers * along(scale, layer["axis"], integers.ndim), False
        own_bias = None if bias is None else _bias_of(owner, bias, written.state)
        if layer["batchNorm"] is None:
            written.notes.extend(_write_bias(written.state, owner, bias, own_bias))
        elif can_be_identity(layer, written.state, initializers, uses):
            make_identity(written.state, layer, bias, own_bias)
        else:
            gain, divided = gain_of(layer, initializers), True
            value = unfolded(value, gain, layer, initializers[layer["weight"]])
            written.notes.extend(shift_kept(written.state, layer, gain, bias, own_bias, initializers))
        put(written.state, owner, owner.in_its_layout(value))
        _tell_scale(written, owner, scale, layer["axis"], divided)
    return written


def _alike(one: Any, other: Any) -> bool:
    import numpy as np

    return one is other if one is None or other is None else np.array_equal(one, other)


def _tell_scale(written: Written, owner: Owner, scale: Any, axis: Optional[int], divided: bool) -> None:
    """Notes the scale of a weight, one a row of a packed one; rows that no layer reads keep scale 0.

    ``divided``: the weight is on the grid only with its normalization folded in.
    """
    rows = len(written.state[owner.name])
    start, end = owner.rows
    if end - start == rows:
        scales = [float(each) for each in scale]
    else:
        scales = written.weights.get(owner.name, {}).get("scale", [0.0] * rows)
        scales[start:end] = [float(scale[min(row, scale.size - 1)]) for row in range(end - start)]
    written.weights[owner.name] = {
        "scale": scales,
        "axis": owner.axis(axis) if end - start == rows else 0,
        "folded": divided,
    }


def _write_bias(state: Dict[str, Any], weight: Owner, bias: Any, own_bias: Optional[Owner]) -> List[str]:
    """Puts the corrected bias of a layer without normalization where the network has room for it; a note where it has none."""
    import numpy as np

    if own_bias is not None:
        put(state, own_bias, bias)
    elif bias is not None and np.any(bias):
        return [f"{weight.name}: the network has no bias there, so its bias correction is in the ONNX model only."]
    return []


def _bias_of(weight: Owner, bias: Any, state: Dict[str, Any]) -> Optional[Owner]:
    """The network's own bias of a layer: beside its weight and named like it, the same stretch of a packed one."""
    module, _, name = weight.name.rpartition(".")
    beside = ".".join(filter(None, (module, name[: -len("weight")] + "bias" if name.endswith("weight") else "bias")))
    if beside not in state or state[beside].dim() != 1:
        return None
    length = len(state[beside])
    rows = (0, length) if length == bias.size else weight.rows
    return Owner(beside, False, rows) if rows[1] - rows[0] == bias.size and rows[1] <= length else None


def _named_as(theirs: Dict[str, Any], network: Dict[str, Any], written: Written) -> Any:
    """The weights under the names that the user's file has for them, whatever its class makes of these on loading.

    ``theirs``: the file's tensors; ``network``: the network's own before the write-back, with the same numbers.
    """
    import torch

    names: Dict[str, str] = {}
    free = dict(theirs)
    for name, value in network.items():
        # Half precision was widened when the network loaded it; the grid needs the wider type, so that one is written.
        same = [
            each for each, tensor in free.items() if tensor.shape == value.shape and torch.equal(tensor.to(value.dtype), value)
        ]
        # Names that end alike go together: layers of equal numbers (fresh counters, unit scales) are told apart so.
        same.sort(key=lambda each: (not each.endswith(name), each.rpartition(".")[2] != name.rpartition(".")[2]))
        if same:
            names[name] = same[0]
            del free[same[0]]
    prefixes = {theirs_name[: -len(name)] if theirs_name.endswith(name) else None for name, theirs_name in names.items()}
    prefix = prefixes.pop() if len(prefixes) == 1 else None
    if prefix is None:
        written.notes.append("Weights have the names of the user's file, which its class renames as it loads them.")
    # What the file does not have (counters of training steps, half-precision copies) goes by the network's name.
    left = [name for name in network if name not in names and not name.endswith("num_batches_tracked")]
    names.update({name: (prefix or "") + name for name in left})
    return OrderedDict((names[name], value) for name, value in written.state.items() if name in names)


def _save(path: str, data: bytes) -> None:
    part = path + ".part"
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise write_error(path, error) from error


def _nothing_mapped(place: str, script: bool) -> DoptError:
    return DoptError(
        "WRITE_BACK_UNMAPPED",
        f"{place}: none of the quantized weights is a tensor of the network's state dict.",
        kind="external",
        place=place,
        suggestions=[
            "A program of torch.jit.freeze has constants in the place of parameters: save it without freezing."
            if script
            else "Let the network keep its weights as parameters, and not compute them in forward().",
        ],
    )
