"""The quantized language model on disk: integers and scales of every layer, ranges of activations, all else in float.

One folder, which every export, evaluation and later stage reads (schema: src/config/llm-artifact.ts)::

    index.json                 what there is, and where; written last, so a folder that has it is whole
    block-0007.safetensors     the layers of decoder block 7; block-0007.json is its part of the index
    outside-NAME.safetensors   one tensor or layer outside of the blocks: embedding, last norm, lm_head
    model/                     config.json and the tokenizer's files of the model

A layer is called by its module, as in transformers (``model.layers.0.mlp.up_proj``), a float tensor by its full name. In a
shard a layer NAME with inputs K and outputs N has ``NAME.packed`` (4 bits: uint8 [N, ceil(K / 2)], the first of two in
the low nibble) or ``NAME.integers`` (int8 [N, K]), and ``NAME.scales`` (float32 [N, G], G = K / group size, or 1):
weight[n, k] = integer[n, k] * scales[n, k // group size], the product rounded to float32. Shards appear whole or not at all,
and a run that goes on keeps those that are there (``has_block``, ``has``) while its fingerprint is the same.
"""

import hashlib
import json
import os
import re
import shutil
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from dopt import native, safetensors
from dopt.capture.save import discard, write_bytes
from dopt.errors import DoptError
from dopt.json_text import parse
from dopt.safetensors import write_error

VERSION = 1
INDEX, MODEL_FOLDER, FINGERPRINT = "index.json", "model", "fingerprint"
#: What an exporter needs of the model's folder besides weights: settings, tokenizer, chat template, code.
_MODEL_FILES = re.compile(r".*\.(json|model|txt|jinja|tiktoken|py)$")
_WEIGHTS = re.compile(r".*(\.index\.json|\.safetensors|\.bin|\.pth?)$")


class Layer(NamedTuple):
    """A layer or an embedding: ``integers`` int8 [N, K], ``scales`` float32 [N, G], ``meta`` its entry in the index."""

    name: str
    integers: Any
    scales: Any
    meta: Dict[str, Any]

    def dequantized(self) -> Any:
        """float32 [N, K], the weights that the integers stand for."""
        return dequantize(self.integers, self.scales)


def dequantize(integers: Any, scales: Any) -> Any:
    """integers [N, K] times scales [N, G], each for K / G neighbours: float32 [N, K]."""
    import numpy as np

    outputs, inputs = integers.shape
    groups = scales.shape[1]
    product = integers.reshape(outputs, groups, inputs // groups) * scales.astype(np.float32, copy=False)[:, :, None]
    return product.reshape(outputs, inputs)


class Writer:
    """Writes an artifact block by block, or goes on with one.

    What is in ``folder`` from another ``fingerprint`` (a digest of everything that decides the result) is removed first.
    Tensors between ``begin_block`` and ``end_block`` become one shard; tensors outside of blocks become one each. To add
    activations to a finished artifact, open it with its own fingerprint (``Reader.fingerprint``) and close it again.
    """

    def __init__(self, folder: str, fingerprint: str = "") -> None:
        self.folder = folder
        self._block: Optional[int] = None
        self._tensors: Dict[str, Any] = {}
        self._specs: Dict[str, safetensors.TensorSpec] = {}
        self._entries: List[Dict[str, Any]] = []
        self._activations: Dict[str, Dict[str, Any]] = {}
        try:
            os.makedirs(folder, exist_ok=True)
            if _read_text(os.path.join(folder, FINGERPRINT)) != fingerprint:
                self._clear()
                write_bytes(os.path.join(folder, FINGERPRINT), fingerprint.encode())
        except OSError as error:
            raise write_error(folder, error) from error
        self._shards = _finished_shards(folder)

    def has_block(self, block: int) -> bool:
        """Whether an earlier run finished this block."""
        return _block_stem(block) in self._shards

    def has(self, name: str) -> bool:
        """Whether an earlier run finished this tensor outside of the blocks."""
        return _outside_stem(name) in self._shards

    def begin_block(self, block: int) -> None:
        """Gathers what comes until ``end_block`` for one shard."""
        if self._block is not None:
            raise DoptError("ARTIFACT_ORDER", f"Block {block} begun inside block {self._block}.", kind="bug")
        self._block = block

    def end_block(self, block: int) -> None:
        """Writes the block's shard; it is on the disk when this returns. Raises DoptError OUTPUT_WRITE."""
        if self._block != block:
            raise DoptError("ARTIFACT_ORDER", f"Block {block} ended inside block {self._block}.", kind="bug")
        self._flush(_block_stem(block), block)
        self._block = None

    def abandon_block(self) -> None:
        """Forgets what was gathered since ``begin_block``."""
        self._block = None
        self._tensors, self._specs, self._entries = {}, {}, []

    def linear(
        self, name: str, integers: Any, scales: Any, *, bits: int, group_size: int, strategy: str, symmetric: bool = True
    ) -> None:
        """A linear layer: ``integers`` int8 [N, K], ``scales`` float32 [N, G]; ``group_size`` 0 is one scale a row."""
        self._layer("linear", name, integers, scales, bits, group_size, strategy, symmetric)

    def embedding(self, name: str, integers: Any, scales: Any, *, strategy: str = "minmax") -> None:
        """An embedding: ``integers`` int8 [V, H], ``scales`` float32 [V, 1]."""
        self._layer("embedding", name, integers, scales, 8, 0, strategy, True)

    def floats(self, name: str, array: Any, bfloat16: bool = False) -> None:
        """A tensor that stays float: norm, bias, an unquantized weight. ``bfloat16``: ``array`` holds the uint16 bits."""
        spec = safetensors.TensorSpec("BF16", tuple(array.shape)) if bfloat16 else safetensors.spec_of(array)
        self._tensors[name], self._specs[name] = array, spec
        self._add({"kind": "float", "name": name, "dtype": spec.dtype, "shape": list(spec.shape)})

    def activation(
        self,
        name: str,
        scale: float,
        zero_point: int,
        bits: int,
        symmetric: bool,
        low: float,
        high: float,
        sqnr: Optional[float],
        rule: str = "minmax",
    ) -> None:
        """The grid of an activation, in signed integers: real = scale * (integer - zero_point), the scale a float32.

        ``low`` and ``high`` are the range seen; ``sqnr`` is in dB, None where it is not known.
        """
        import numpy as np

        self._activations[name] = {
            "name": name,
            "scale": float(np.float32(scale)),
            "zeroPoint": int(zero_point),
            "bits": int(bits),
            "symmetric": bool(symmetric),
            "low": float(low),
            "high": float(high),
            "sqnr": None if sqnr is None or sqnr in (float("inf"), float("-inf")) else float(sqnr),
            "rule": rule,
        }

    def close(self, meta: Dict[str, Any]) -> str:
        """Writes index.json and returns its path.

        ``meta``: ``model`` names the model's folder, whose settings and tokenizer are copied; ``config`` holds keys of
        config.json that the quantization changed (``tie_word_embeddings``); anything else is kept as it is. A second
        close keeps the keys and activations that it does not give anew. Raises DoptError OUTPUT_WRITE.
        """
        if self._block is not None:
            raise DoptError("ARTIFACT_ORDER", f"Closed inside block {self._block}.", kind="bug")
        path = os.path.join(self.folder, INDEX)
        before = json.loads(_read_text(path) or "{}")
        meta = {**before.get("meta", {}), **meta}
        activations = {each["name"]: each for each in before.get("activations", [])}
        activations.update(self._activations)
        config = _copy_model(meta.get("model"), os.path.join(self.folder, MODEL_FOLDER), meta.get("config", {}))
        shards = [self._shards[stem] for stem in sorted(self._shards)]
        entries = [entry for shard in shards for entry in shard["entries"]]
        content = {
            "version": VERSION,
            "architecture": (config.get("architectures") or ["unknown"])[0],
            "modelFolder": MODEL_FOLDER,
            "fingerprint": _read_text(os.path.join(self.folder, FINGERPRINT)) or "",
            "linears": [_without(entry, "kind") for entry in entries if entry["kind"] == "linear"],
            "embeddings": [_without(entry, "kind") for entry in entries if entry["kind"] == "embedding"],
            "floats": [_without(entry, "kind") for entry in entries if entry["kind"] == "float"],
            "activations": [activations[name] for name in sorted(activations)],
            "shards": [_without(shard, "entries") for shard in shards],
            "meta": meta,
        }
        decides = {key: content[key] for key in ("linears", "embeddings", "floats", "activations", "shards")}
        content["digest"] = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)
        write_bytes(path, text.encode() + b"\n")
        return path

    def _layer(
        self, kind: str, name: str, integers: Any, scales: Any, bits: int, group_size: int, strategy: str, symmetric: bool
    ) -> None:
        import numpy as np

        outputs, inputs = integers.shape
        groups = inputs // group_size if group_size else 1
        if integers.dtype != np.int8 or scales.shape != (outputs, groups) or (group_size and inputs % group_size):
            found = f"{integers.dtype} {list(integers.shape)} with scales {list(scales.shape)}, groups of {group_size}"
            raise DoptError("ARTIFACT_SHAPE", f"{name}: {found}.", kind="bug", place=name)
        limit = 1 << (bits - 1)
        if not symmetric or integers.min(initial=0) < -limit or integers.max(initial=0) >= limit:
            raise DoptError("ARTIFACT_RANGE", f"{name}: integers outside of {-limit}..{limit - 1}.", kind="bug", place=name)
        if not (np.isfinite(scales).all() and (scales > 0).all()):
            raise DoptError("ARTIFACT_SCALE", f"{name}: scales must be finite and above 0.", kind="bug", place=name)
        if bits == 4:
            self._put(f"{name}.packed", native.load().pack_int4(integers))
        else:
            self._put(f"{name}.integers", np.ascontiguousarray(integers))
        self._put(f"{name}.scales", np.ascontiguousarray(scales, np.float32))
        self._add(
            {
                "kind": kind,
                "name": name,
                "shape": [int(outputs), int(inputs)],
                "bits": int(bits),
                "groupSize": int(group_size),
                "symmetric": True,
                "strategy": strategy,
            }
        )

    def _put(self, key: str, array: Any) -> None:
        self._tensors[key], self._specs[key] = array, safetensors.spec_of(array)

    def _add(self, entry: Dict[str, Any]) -> None:
        self._entries.append(entry)
        if self._block is None:
            self._flush(_outside_stem(entry["name"]), None)

    def _flush(self, stem: str, block: Optional[int]) -> None:
        path = os.path.join(self.folder, f"{stem}.safetensors")
        try:
            safetensors.write(f"{path}.part", self._tensors, self._specs)
            os.replace(f"{path}.part", path)
        except OSError as error:
            raise write_error(path, error) from error
        finally:
            discard(f"{path}.part")
        file = os.path.basename(path)
        for entry in self._entries:
            entry.update({"shard": file, "block": block})
        shard = {"file": file, "block": block, **_digest(path), "entries": self._entries}
        write_bytes(os.path.join(self.folder, f"{stem}.json"), json.dumps(shard, ensure_ascii=False).encode() + b"\n")
        self._shards[stem] = shard
        self._tensors, self._specs, self._entries = {}, {}, []

    def _clear(self) -> None:
        for name in os.listdir(self.folder):
            if name == INDEX or name.startswith(("block-", "outside-")):
                os.unlink(os.path.join(self.folder, name))


class Reader:
    """A finished artifact, memory-mapped. Raises DoptError ARTIFACT_MISSING or ARTIFACT_BROKEN."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        path = os.path.join(folder, INDEX)
        text = _read_text(path)
        if text is None:
            raise DoptError(
                "ARTIFACT_MISSING",
                f"{folder} holds no quantized language model: there is no {INDEX}.",
                place=path,
                suggestions=["Quantize first: dopt llm quantize MODEL_DIR --out DIR; go on after an interruption with --resume."],
            )
        self.index: Dict[str, Any] = json.loads(text)
        if self.index.get("version") != VERSION:
            raise _broken(path, f"its version is {self.index.get('version')}, not {VERSION}")
        self.meta: Dict[str, Any] = self.index["meta"]
        self.fingerprint: str = self.index["fingerprint"]
        self.activations: List[Dict[str, Any]] = self.index["activations"]
        self._entries = {
            entry["name"]: (kind, entry) for kind in ("linears", "embeddings", "floats") for entry in self.index[kind]
        }
        self._headers: Dict[str, Dict[str, safetensors.Entry]] = {}

    @property
    def config(self) -> Dict[str, Any]:
        """config.json of the model as it now is."""
        path = os.path.join(self.model_folder, "config.json")
        try:
            return dict(parse(_read_text(path) or "{}"))
        except (ValueError, TypeError) as error:
            raise _broken(path, f"{error}") from error

    @property
    def model_folder(self) -> str:
        """The folder with the model's settings and tokenizer."""
        return os.path.join(self.folder, self.index["modelFolder"])

    def linears(self) -> Iterator[Layer]:
        """Linear layers, one in memory at a time."""
        return (self.layer(entry["name"]) for entry in self.index["linears"])

    def embeddings(self) -> Iterator[Layer]:
        """Embeddings with 8 bits a weight."""
        return (self.layer(entry["name"]) for entry in self.index["embeddings"])

    def by_shard(self) -> Iterator[Dict[str, List[Dict[str, Any]]]]:
        """Entries of linears, embeddings and floats, one shard after the other: what may be in memory at once."""
        for shard in self.index["shards"]:
            yield {
                kind: [entry for entry in self.index[kind] if entry["shard"] == shard["file"]]
                for kind in ("linears", "embeddings", "floats")
            }

    @property
    def bytes(self) -> int:
        """Size of all shards."""
        return sum(shard["bytes"] for shard in self.index["shards"])

    def layer(self, name: str) -> Layer:
        """One linear layer or embedding by name; integers are unpacked, scales a memory map."""
        kind, entry = self._find(name)
        if kind == "floats":
            raise DoptError("ARTIFACT_NAME", f"{name} is not quantized.", kind="bug", place=name)
        outputs, inputs = entry["shape"]
        scales = self._tensor(entry, f"{name}.scales", "F32", (outputs, inputs // entry["groupSize"] if entry["groupSize"] else 1))
        if entry["bits"] == 4:
            packed = self._tensor(entry, f"{name}.packed", "U8", (outputs, (inputs + 1) // 2))
            return Layer(name, native.load().unpack_int4(packed, inputs), scales, entry)
        return Layer(name, self._tensor(entry, f"{name}.integers", "I8", (outputs, inputs)), scales, entry)

    def floats(self) -> Iterator[Tuple[str, Any, Dict[str, Any]]]:
        """Name, memory map (bfloat16 as uint16 bits) and entry of each tensor that stays float."""
        return ((entry["name"], self.float_bits(entry["name"]), entry) for entry in self.index["floats"])

    def float_bits(self, name: str) -> Any:
        """A tensor that stays float as it lies in the file: a memory map, bfloat16 as uint16."""
        entry = self._find(name)[1]
        return self._tensor(entry, name, entry["dtype"], entry["shape"])

    def float_tensor(self, name: str) -> Any:
        """A tensor that stays float as float32."""
        return as_float32(self.float_bits(name), self._find(name)[1]["dtype"])

    def has(self, name: str) -> bool:
        """Whether there is a layer or a tensor of that name."""
        return name in self._entries

    def _find(self, name: str) -> Tuple[str, Dict[str, Any]]:
        if name not in self._entries:
            raise DoptError("ARTIFACT_NAME", f"{self.folder} has no tensor called {name}.", kind="bug", place=name)
        return self._entries[name]

    def _tensor(self, entry: Dict[str, Any], key: str, dtype: str, shape: Sequence[int]) -> Any:
        path = os.path.join(self.folder, entry["shard"])
        if path not in self._headers:
            self._headers[path] = safetensors.read_header(path)
        if key not in self._headers[path]:
            raise _broken(path, f"{key} is not in it")
        stored = self._headers[path][key]
        if stored.dtype != dtype or stored.shape != tuple(shape):
            raise _broken(path, f"{key} is {stored.dtype} {list(stored.shape)}, not {dtype} {list(shape)}")
        return safetensors.map_tensor(path, self._headers[path][key])


def as_float32(array: Any, dtype: str) -> Any:
    """An array of the safetensors type ``dtype`` as float32."""
    import numpy as np

    if dtype == "BF16":
        return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return np.asarray(array, np.float32)


def _finished_shards(folder: str) -> Dict[str, Dict[str, Any]]:
    """Shards with their part of the index, blocks first; those that are not as they were written are left out."""
    shards = {}
    for name in sorted(os.listdir(folder)):
        if not (name.startswith(("block-", "outside-")) and name.endswith(".json")):
            continue
        shard = json.loads(_read_text(os.path.join(folder, name)) or "{}")
        path = os.path.join(folder, shard.get("file", ""))
        if os.path.isfile(path) and os.path.getsize(path) == shard["bytes"] and _digest(path)["sha256"] == shard["sha256"]:
            shards[name[: -len(".json")]] = shard
    return shards


def _copy_model(source: Optional[str], target: str, changes: Dict[str, Any]) -> Dict[str, Any]:
    """Copies settings and tokenizer, and returns config.json with ``changes``; same files, same bytes."""
    try:
        os.makedirs(target, exist_ok=True)
        for name in sorted(os.listdir(source)) if source and os.path.isdir(source) else []:
            if _MODEL_FILES.match(name) and not _WEIGHTS.match(name):
                shutil.copyfile(os.path.join(str(source), name), os.path.join(target, name))
    except OSError as error:
        raise write_error(target, error) from error
    path = os.path.join(target, "config.json")
    config = {**json.loads(_read_text(path) or "{}"), **changes}
    write_bytes(path, json.dumps(config, ensure_ascii=False, indent=2).encode() + b"\n")
    return config


def _digest(path: str) -> Dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(safetensors.CHUNK), b""):
            digest.update(piece)
            size += len(piece)
    return {"bytes": size, "sha256": digest.hexdigest()}


def _block_stem(block: int) -> str:
    return f"block-{block:04d}"


def _outside_stem(name: str) -> str:
    return "outside-" + re.sub(r"[^A-Za-z0-9._-]", "_", name)


def _read_text(path: str) -> Optional[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _without(mapping: Dict[str, Any], key: str) -> Dict[str, Any]:
    return {name: value for name, value in mapping.items() if name != key}


def _broken(path: str, found: str) -> DoptError:
    return DoptError(
        "ARTIFACT_BROKEN",
        f"{path} is not a whole part of a quantized language model: {found}.",
        place=path,
        suggestions=["Quantize again with --resume; blocks that are whole are kept."],
    )
