"""The files of the original tool's three stages.

``trained_quant_weight.pth`` (stage 1): the model's state dict with weights on their grid, and ``NAME.weight_scale`` of each
layer. ``trained.pth`` (stage 2): the same with ``NAME.input_scale`` and ``NAME.input_zero_point`` of each layer. Stage 3:
``fake_quant_weight.pth``, the state dict for the ONNX export, whose 4-bit weights are indices 0..15 of −8..7 with
``quantParam2``; ``quant_params.json``, every scale (the original's is encrypted); and with ``embeddingSeparate``
``embedding_weight.bin`` (int8 [V, H]) and ``embedding_scale.bin`` (float32 [V]).
"""

import os
from typing import Any, Dict, Iterator, List, Optional, Tuple

from dopt.capture.save import discard, write_bytes
from dopt.errors import DoptError
from dopt.llm.artifact import Layer, Reader, as_float32
from dopt.llm.export.folder import Kept
from dopt.llm.export.parameters import activation_entry, layer_entry, quant_params, write_json
from dopt.llm.export.stored import forms_of, stored_weights
from dopt.safetensors import write_error

STAGES = (1, 2, 3)
#: Added to an integer of 4 bits to have its index.
INDEX_OFFSET = 8


def write(reader: Reader, out: str, options: Dict[str, Any], events: Any) -> Tuple[List[Kept], List[str]]:
    """Writes the files of ``options['stages']`` (all where it is absent) into the folder ``out``.

    Also ``dtype`` (float32, in which weights are exactly on their grid, or float16), ``quantParam2``,
    ``embeddingSeparate`` and ``lmHeadSize``, to which lm_head is padded with zeros. Raises DoptError LM_HEAD_SIZE.
    """
    os.makedirs(out, exist_ok=True)
    dtype = options.get("dtype") or "float32"
    stages = options.get("stages") or STAGES
    size = options.get("lmHeadSize")
    if size is not None:
        _check_head(reader, size)
    notes = []
    if dtype != "float32":
        notes.append(f"Weights are rounded from their grid to {dtype}; --dtype float32 keeps them on it.")
    for stage, name in ((1, "trained_quant_weight.pth"), (2, "trained.pth")):
        if stage not in stages or (stage == 2 and not reader.activations):
            continue
        events.progress(stage - 1, 3, name)
        state = dict(_state(reader, dtype, scales=True))
        if stage == 2:
            state.update(_activations(reader))
        _save(os.path.join(out, name), state)
    if 3 in stages:
        events.progress(2, 3, "fake_quant_weight.pth")
        indices = bool(options.get("quantParam2"))
        state = dict(_state(reader, dtype, scales=False, indices=indices, head_rows=size or 0))
        _save(os.path.join(out, "fake_quant_weight.pth"), state)
        head, name, tensors = quant_params(reader, "kirin9020" if indices else "kirinx90", _entries(reader, size or 0))
        write_json(os.path.join(out, "quant_params.json"), head, (name, tensors))
        if options.get("embeddingSeparate", True):
            _write_embedding(reader, out)
    return [], notes


def _state(
    reader: Reader, dtype: str, *, scales: bool, indices: bool = False, head_rows: int = 0
) -> Iterator[Tuple[str, Any]]:
    """Names and torch tensors of the state dict."""
    import numpy as np
    import torch

    kind = getattr(torch, dtype)

    def weights() -> Iterator[Tuple[str, Any]]:
        for layer in [*reader.linears(), *reader.embeddings()]:
            as_index = indices and layer.meta["bits"] == 4
            values = (layer.integers + np.int8(INDEX_OFFSET)).astype(np.float32) if as_index else layer.dequantized()
            if _is_head(layer.name) and head_rows > values.shape[0]:
                padding = ((0, head_rows - values.shape[0]), (0, 0))
                values = np.pad(values, padding, constant_values=INDEX_OFFSET if as_index else 0)
            yield layer.name, values

    for name, values in stored_weights(forms_of(reader), weights()):
        yield name, torch.from_numpy(values).to(kind)
    if scales:
        for layer in [*reader.linears(), *reader.embeddings()]:
            yield f"{layer.name}.weight_scale", torch.from_numpy(np.array(layer.scales))
    for name, array, entry in reader.floats():
        if entry["dtype"] not in ("F16", "BF16", "F32", "F64"):
            yield name, torch.from_numpy(np.array(array))
            continue
        values = np.array(as_float32(array, entry["dtype"]))
        if _is_head(name.rpartition(".")[0]) and head_rows > values.shape[0]:
            values = np.pad(values, ((0, head_rows - values.shape[0]),) + ((0, 0),) * (values.ndim - 1))
        yield name, torch.from_numpy(values).to(kind)


def _activations(reader: Reader) -> Iterator[Tuple[str, Any]]:
    import torch

    layers = {entry["name"] for entry in reader.index["linears"]}
    for activation in reader.activations:
        name, _, edge = activation["name"].rpartition(":")
        if edge == "input" and name in layers:
            yield f"{name}.input_scale", torch.tensor(activation["scale"], dtype=torch.float32)
            yield f"{name}.input_zero_point", torch.tensor(activation["zeroPoint"], dtype=torch.int32)


def _entries(reader: Reader, head_rows: int) -> Iterator[Dict[str, Any]]:
    yield from map(activation_entry, reader.activations)
    for layer in [*reader.linears(), *reader.embeddings()]:
        yield layer_entry(layer, head_rows if _is_head(layer.name) else 0)


def _write_embedding(reader: Reader, out: str) -> None:
    import numpy as np

    for layer in reader.embeddings():
        write_bytes(os.path.join(out, "embedding_weight.bin"), np.ascontiguousarray(layer.integers).tobytes())
        write_bytes(os.path.join(out, "embedding_scale.bin"), np.ascontiguousarray(layer.scales, "<f4").tobytes())


def _is_head(name: str) -> bool:
    return name.split(".")[-1] in ("lm_head", "embed_out", "output_layer")


def _check_head(reader: Reader, size: int) -> None:
    head: Optional[Layer] = next((layer for layer in reader.linears() if _is_head(layer.name)), None)
    rows = head.integers.shape[0] if head is not None else reader.config.get("vocab_size", 0)
    if size < rows:
        raise DoptError(
            "LM_HEAD_SIZE",
            f"lm_head_size {size} is below the {rows} outputs that lm_head has; it can only be padded.",
            suggestions=[f"Give {rows} or more, or leave it out."],
        )


def _save(path: str, state: Dict[str, Any]) -> None:
    import torch

    try:
        torch.save(state, f"{path}.part")
        os.replace(f"{path}.part", path)
    except (OSError, RuntimeError) as error:
        # torch reports a full disk as RuntimeError of its own writer.
        raise write_error(path, error if isinstance(error, OSError) else OSError(str(error))) from error
    finally:
        discard(f"{path}.part")
