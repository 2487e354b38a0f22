"""A folder that transformers can load: shards of safetensors, their index, config.json and the tokenizer."""

import json
import os
import shutil
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from dopt import safetensors
from dopt.capture.save import write_bytes
from dopt.llm.artifact import Layer, Reader, as_float32
from dopt.llm.export.rounding import cast
from dopt.llm.export.stored import WORDS, Form, forms_of, stored_weights
from dopt.safetensors import write_error

#: Models whose integers take less than this many bytes become one file; larger ones a file a block.
ONE_FILE = 1 << 29
METADATA = {"format": "pt"}


class Kept(NamedTuple):
    """A layer that stays float in a format, and why."""

    name: str
    reason: str


#: The tensors of a layer in a format by what follows the layer's name, or why it stays float.
Convert = Callable[[Layer], "Dict[str, Any] | str"]


def write_folder(
    reader: Reader, out: str, convert: Convert, dtype: str, events: Any, kinds: Tuple[str, ...] = ()
) -> List[Kept]:
    """Writes the weights and copies config and tokenizer; returns the layers that stay float.

    One shard of the artifact is in memory at a time. Floats, embeddings and layers that ``convert`` gives a reason for
    become ``dtype``, and so do layers of a kind (``stored.py``) that is not in ``kinds``. ``out`` must not exist. Raises
    DoptError OUTPUT_WRITE.
    """
    kept: List[Kept] = []
    forms = forms_of(reader)

    def judge(layer: Layer) -> Any:
        form = forms.get(layer.name)
        return convert(layer) if form is None or form.kind in kinds else WORDS[form.kind]

    try:
        os.makedirs(out)
        for name in sorted(os.listdir(reader.model_folder)):
            shutil.copyfile(os.path.join(reader.model_folder, name), os.path.join(out, name))
    except OSError as error:
        raise write_error(out, error) from error
    together = reader.bytes < ONE_FILE
    shards = list(reader.by_shard())
    count = 1 if together else len(shards)
    where: Dict[str, str] = {}
    tensors: Dict[str, Any] = {}
    specs: Dict[str, safetensors.TensorSpec] = {}
    total = 0
    for number, shard in enumerate(shards):
        events.progress(number, len(shards), "writing weights")
        for name, (array, kind) in _tensors(reader, shard, judge, forms, dtype, kept).items():
            tensors[name], specs[name] = array, safetensors.TensorSpec(kind, tuple(array.shape))
        if together and number + 1 < len(shards):
            continue
        file = "model.safetensors" if count == 1 else f"model-{number + 1:05d}-of-{count:05d}.safetensors"
        safetensors.write(os.path.join(out, file), tensors, specs, METADATA)
        where.update({name: file for name in tensors})
        total += sum(spec.nbytes for spec in specs.values())
        tensors, specs = {}, {}
    if count > 1:
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
        write_bytes(os.path.join(out, "model.safetensors.index.json"), json.dumps(index, indent=1).encode() + b"\n")
    return kept


def write_config(out: str, changes: Dict[str, Any], quantization: Optional[Dict[str, Any]] = None) -> None:
    """Changes keys of config.json; ``quantization`` becomes its ``quantization_config``."""
    path = os.path.join(out, "config.json")
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    config.update(changes)
    if quantization is not None:
        config["quantization_config"] = quantization
    write_bytes(path, json.dumps(config, ensure_ascii=False, indent=2).encode() + b"\n")


def float_dtype(reader: Reader, asked: Optional[str]) -> str:
    """The type of what stays float: as asked, else the model's own where it is one of 16 bits, else float16."""
    own = reader.config.get("dtype") or reader.config.get("torch_dtype")
    return asked or (own if own in ("float16", "bfloat16") else "float16")


def _tensors(
    reader: Reader, shard: Dict[str, Any], convert: Convert, forms: Dict[str, Form], dtype: str, kept: List[Kept]
) -> Dict[str, Any]:
    tensors: Dict[str, Any] = {}
    floats: List[Tuple[str, Any]] = []
    for entry in shard["linears"]:
        layer = reader.layer(entry["name"])
        converted = convert(layer)
        if isinstance(converted, str):
            kept.append(Kept(layer.name, converted))
            floats.append((layer.name, layer.dequantized()))
            continue
        for suffix, value in converted.items():
            pair = value if isinstance(value, tuple) else (value, safetensors.spec_of(value).dtype)
            tensors[f"{layer.name}.{suffix}"] = pair
    tensors.update((name, cast(weight, dtype)) for name, weight in stored_weights(forms, floats))
    for entry in shard["embeddings"]:
        tensors[f"{entry['name']}.weight"] = cast(reader.layer(entry["name"]).dequantized(), dtype)
    for entry in shard["floats"]:
        value = reader.float_bits(entry["name"])
        if entry["dtype"] in ("F16", "BF16", "F32", "F64"):
            tensors[entry["name"]] = cast(as_float32(value, entry["dtype"]), dtype)
        else:
            tensors[entry["name"]] = (value, entry["dtype"])
    return tensors
