"""A quantization back into the user's weights file.

The user's layout stays: batch normalization is not folded. A convolution with integers q and scales s that were made of the
folded weight k·W, k = gamma / sqrt(variance + epsilon), is stored as q·s / k with its batch normalization as it was, so
that normalizing gives q·s; the corrected bias goes into the normalization's beta. The user's class loads the file
strictly, and its layers compute with weights on the grid.
"""

import io
import json
import os
from collections import OrderedDict
from typing import Any, Dict, List, NamedTuple, Optional

from dopt.data.raw import write_error
from dopt.doors.common.files import describe
from dopt.doors.torch.quantized import VERSION
from dopt.errors import DoptError

#: Normalizations scale by at least this much; below, a channel is dead and keeps the user's weights.
_SMALLEST = 1e-20


class Written(NamedTuple):
    """A state dict on the grid, what tells its quantization, notes, and activations that it cannot carry."""

    state: Dict[str, Any]
    entry: Dict[str, Any]
    notes: List[str]
    unmapped: List[Dict[str, str]]


def write_back(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``writeBack`` of src/bridge/protocol.ts for PyTorch.

    Writes a file of the form of the user's own, with the quantization beside it (entry.py); TorchScript: the program with
    other parameters. Raises DoptError
    WRITE_BACK_UNMAPPED for a layer whose weight is no tensor of the network, and OUTPUT_WRITE.
    """
    import torch

    from dopt import safetensors
    from dopt.doors.torch.checkpoint import load_checkpoint
    from dopt.doors.torch.entry import attach
    from dopt.doors.torch.network import open_network

    opened = open_network(params)
    with open(params["writeBack"], encoding="utf-8") as file:
        plan = json.load(file)
    numbers = safetensors.read(params["parameters"])
    state = OrderedDict((name, value.detach().clone()) for name, value in opened.network.state_dict().items())
    original = OrderedDict(state)
    written = rewrite_state(state, plan, numbers, _initializers(params["onnx"]), params["model"])
    buffer = io.BytesIO()
    if opened.script:
        opened.network.load_state_dict(written.state)
        torch.jit.save(opened.network, buffer, _extra_files={"dopt.json": json.dumps(written.entry)})
        unmapped = [
            {"tensor": each["tensor"], "reason": "a TorchScript program takes no hooks at its layers"}
            for each in plan["activations"]
        ]
    else:
        checkpoint = load_checkpoint(params["weights"])
        named = _named_as(checkpoint.state, original, written)
        attach(named, written.entry)
        value: Any = named
        for key in reversed(checkpoint.wrapper):
            value = {key: value}
        torch.save(value, buffer)
        unmapped = written.unmapped
    _save(params["out"], buffer.getvalue())
    return {"files": [describe(params["out"])], "notes": written.notes, "unmapped": unmapped}


def rewrite_state(
    state: Dict[str, Any], plan: Dict[str, Any], numbers: Dict[str, Any], initializers: Dict[str, Any], place: str
) -> Written:
    """The state dict with weights on the grid. ``initializers``: those of float.onnx; ``plan``: write-back.json."""
    import torch

    weights: Dict[str, Any] = {}
    inputs: Dict[str, Any] = {}
    notes: List[str] = []
    module_of: Dict[str, str] = {}
    for layer in plan["layers"]:
        found = _find(state, layer["weight"], initializers[layer["weight"]])
        if found is None:
            raise _unmapped(place, layer)
        name, turned = found
        folded = numbers[layer["name"] + "/weight/integers"] * _along(
            numbers[layer["name"] + "/weight/scale"], layer["axis"], numbers[layer["name"] + "/weight/integers"].ndim
        )
        gain = _gain(layer, initializers)
        value = folded if gain is None else _unfold(folded, gain, layer, initializers[layer["weight"]])
        tensor = torch.from_numpy((value.T if turned else value).copy()).to(state[name].dtype)
        if name in weights and not torch.equal(tensor, state[name]):
            notes.append(f"{name} is used by several layers; the file holds the weights of the first.")
            continue
        state[name] = tensor
        weights[name] = {
            "scale": [float(each) for each in numbers[layer["name"] + "/weight/scale"]],
            "axis": layer["axis"],
            "folded": layer["batchNorm"] is not None,
        }
        module_of[layer["name"]] = name.rpartition(".")[0]
        _write_bias(state, layer, name, gain, numbers.get(layer["name"] + "/bias"), initializers, notes)
    unmapped = _quantize_inputs(plan, numbers, module_of, inputs)
    return Written(state, {"version": VERSION, "weights": weights, "inputs": inputs}, notes, unmapped)


def _initializers(path: str) -> Dict[str, Any]:
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    return {each.name: numpy_helper.to_array(each) for each in graph.initializer}


class Found(NamedTuple):
    """A tensor of the network, and whether the graph has it transposed."""

    name: str
    turned: bool


def _find(state: Dict[str, Any], name: str, value: Any) -> Optional[Found]:
    """The tensor of the network that an initializer holds: by its name, else the only one of the same numbers.

    The exporter keeps names, but for the matrices of Linear that it transposes for MatMul.
    """
    if name in state and _equal(state[name], value):
        return Found(name, False)
    turned = [each for each, tensor in state.items() if value.ndim == 2 and _equal(tensor, value.T)]
    if len(turned) == 1:
        return Found(turned[0], True)
    same = [each for each, tensor in state.items() if _equal(tensor, value)]
    return Found(same[0], False) if len(same) == 1 and not turned else None


def _equal(tensor: Any, value: Any) -> bool:
    import numpy as np

    own = tensor.cpu().numpy()
    return own.dtype.kind == "f" and own.shape == value.shape and np.array_equal(own.astype(np.float32), value)


def _gain(layer: Dict[str, Any], initializers: Dict[str, Any]) -> Any:
    """k of the batch normalization behind a layer, float64 [channels]; None without one."""
    import numpy as np

    normalization = layer["batchNorm"]
    if normalization is None:
        return None
    gamma, variance = (initializers[normalization[each]].astype(np.float64) for each in ("gamma", "variance"))
    return gamma / np.sqrt(variance + normalization["epsilon"])


def _unfold(folded: Any, gain: Any, layer: Dict[str, Any], original: Any) -> Any:
    """folded / gain by output channel; channels that the normalization kills keep their own weights."""
    import numpy as np

    shaped = _gain_of_weight(gain, layer, folded.shape)
    dead = np.abs(shaped) < _SMALLEST
    value = folded / np.where(dead, 1.0, shaped)
    return np.where(np.broadcast_to(dead, value.shape), original, value).astype(np.float32)


def _gain_of_weight(gain: Any, layer: Dict[str, Any], shape: Any) -> Any:
    import numpy as np

    if layer["op"] != "ConvTranspose":
        return _along(gain, layer["axis"] or 0, len(shape))
    # Stored as [C_in, C_out / groups, …]: the group, and with it the output channel, follows from the input channel.
    per_group, groups = shape[1], layer["groups"]
    by_input = gain.reshape(groups, per_group)[np.arange(shape[0]) // (shape[0] // groups)]
    return by_input.reshape(by_input.shape + (1,) * (len(shape) - 2))


def _along(values: Any, axis: Optional[int], rank: int) -> Any:
    """A vector shaped to multiply an array of ``rank`` along ``axis``; a single value multiplies everything."""
    shape = [1] * rank
    if axis is not None and values.size > 1:
        shape[axis] = -1
    return values.reshape(shape)


def _write_bias(
    state: Dict[str, Any],
    layer: Dict[str, Any],
    weight: str,
    gain: Any,
    bias: Any,
    initializers: Dict[str, Any],
    notes: List[str],
) -> None:
    """Puts the folded, corrected bias where the network has room for it."""
    import numpy as np
    import torch

    if bias is None:
        return
    own = weight.rpartition(".")[0] + ".bias" if "." in weight else "bias"
    if layer["batchNorm"] is None:
        if own in state and state[own].numel() == bias.size:
            state[own] = torch.from_numpy(bias.copy()).to(state[own].dtype).reshape(state[own].shape)
        elif np.any(bias):
            notes.append(f"{weight}: the network has no bias there, so its bias correction is in the ONNX model only.")
        return
    before = state[own].double().cpu().numpy() if own in state else 0.0
    normalization = layer["batchNorm"]
    mean = initializers[normalization["mean"]].astype(np.float64)
    beta = normalization["beta"]
    if beta in state:
        value = bias - (before - mean) * gain
        state[beta] = torch.from_numpy(value.astype(np.float32)).to(state[beta].dtype)
        return
    centre = normalization["mean"]
    if centre in state and np.all(np.abs(gain) >= _SMALLEST):
        # A normalization without parameters of its own: its mean is what can move.
        state[centre] = torch.from_numpy((before - bias / gain).astype(np.float32)).to(state[centre].dtype)
        return
    notes.append(f"{weight}: its normalization has no beta, so its bias correction is in the ONNX model only.")


def _quantize_inputs(
    plan: Dict[str, Any], numbers: Dict[str, Any], module_of: Dict[str, str], inputs: Dict[str, Any]
) -> List[Dict[str, str]]:
    """Quantizers of the modules that read each activation; what other operators read is returned as unmapped."""
    unmapped = []
    for activation in plan["activations"]:
        tensor = activation["tensor"]
        spec = {
            "scale": [float(each) for each in numbers[tensor + "/scale"]],
            "zero_point": [int(each) for each in numbers[tensor + "/zero_point"]],
            "bits": activation["bits"],
            "signed": activation["signed"],
            "axis": activation["axis"],
        }
        others = []
        for reader in activation["readers"]:
            module = module_of.get(reader["node"])
            if module is None or inputs.get(module, spec) != spec:
                others.append(reader["node"])
            else:
                inputs[module] = spec
        if others:
            reason = f"it is read by {others[0]}, which is no layer of its own in the network"
            unmapped.append({"tensor": tensor, "reason": reason})
    return unmapped


def _named_as(theirs: Dict[str, Any], network: Dict[str, Any], written: Written) -> Any:
    """The weights under the names that the user's file has for them, whatever its class makes of these on loading.

    ``theirs``: the file's tensors; ``network``: the network's own before the write-back, with the same numbers.
    """
    import torch

    names: Dict[str, str] = {}
    free = dict(theirs)
    for name, value in network.items():
        same = [each for each, tensor in free.items() if tensor.shape == value.shape and torch.equal(tensor, value)]
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


def _unmapped(place: str, layer: Dict[str, Any]) -> DoptError:
    return DoptError(
        "WRITE_BACK_UNMAPPED",
        f"{place}: the weight {layer['weight']!r} of {layer['name']} is no tensor of the network's state dict.",
        kind="external",
        place=place,
        suggestions=[
            f"Leave the layer in float: --exclude '{layer['name']}'",
            "The quantized ONNX model in the run folder is complete; only the weights file cannot be written.",
        ],
    )
