"""Damaged texts, model folders and quantized models: each is read or refused with a DoptError, and soon."""

import io
import json
import os
import shutil

import numpy as np
import pytest
from fuzzing import damaged_bytes, damaged_json, damaged_text, fuzz
from tiny_artifact import TOKENIZER, write_tiny

from dopt.dopt_lm.settings import layer_settings, read_settings
from dopt.events import Events
from dopt.llm.artifact import Reader
from dopt.llm.inspect import inspect
from dopt.llm.load import open_model
from dopt.llm.tokens import samples_of

TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<s>",
    "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}",
}
DOCUMENTS = [{"text": "a b c a"}, "b c", {"text": "", "more": [1, {"x": None}]}, {"text": "c " * 30}]


def _put(folder, name, data):
    """Writes a file of a folder; a link is broken first, so that what it leads to stays whole."""
    path = os.path.join(folder, name)
    if os.path.lexists(path):
        os.unlink(path)
    with open(path, "wb") as file:
        file.write(data)
    return path


def _links(good, folder):
    """A folder with a link to every file of another."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(good, folder, copy_function=os.symlink)
    return str(folder)


def _contents(folder, name):
    with open(os.path.join(folder, name), "rb") as file:
        return file.read()


def _damaged_safetensors(rng, data, header):
    """A safetensors file whose bytes or whose ``header``, as data, were damaged."""
    if rng.random() < 0.3:
        return damaged_bytes(rng, [data])
    text = damaged_json(rng, [header])
    return len(text).to_bytes(8, "little") + text + data[8 + int.from_bytes(data[:8], "little") :]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A folder with a tokenizer and nothing else."""
    folder = tmp_path_factory.mktemp("tokenizer")
    _put(folder, "tokenizer.json", json.dumps(TOKENIZER).encode())
    _put(folder, "tokenizer_config.json", json.dumps(TOKENIZER_CONFIG).encode())
    return str(folder)


@pytest.mark.parametrize("ending", ["json", "jsonl", "txt", "npy"])
def test_texts(tmp_path, tokenizer, ending):
    arrays = [np.arange(40), np.arange(40, dtype=np.uint16).reshape(5, 8), np.zeros((0, 4), np.int32), np.asfortranarray(np.ones((6, 6), int))]
    files = []
    for array in arrays:
        buffer = io.BytesIO()
        np.save(buffer, array % 20)
        files.append(buffer.getvalue())
    make = {
        "json": lambda rng: damaged_json(rng, [DOCUMENTS]),
        "jsonl": lambda rng: damaged_text(rng, ["\n".join(map(json.dumps, DOCUMENTS))]),
        "txt": lambda rng: damaged_text(rng, ["a b c\n" * 20]),
        "npy": lambda rng: damaged_bytes(rng, files, b"'{}(),:<>|iufOV?\n"),
    }[ending]

    def read(data):
        path = _put(tmp_path, f"text.{ending}", data)
        samples, _ = samples_of({"files": [path], "samples": None, "length": 4, "chat": False, "bos": True}, tokenizer, 27)
        assert samples.dtype == np.int64 and samples.shape[1] == 4

    outcomes = fuzz(f"texts, {ending}", 400, make, read, share=0.25)
    assert outcomes["read"] and len(outcomes) > 1


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mixtral"])
def test_settings_of_models(tmp_path, models, kind):
    config = json.loads(_contents(models(kind), "config.json"))
    folder = _links(models(kind), tmp_path / "model")

    def read(data):
        _put(folder, "config.json", data)
        json.dumps(inspect({"model": folder, "trustRemoteCode": False, "text": None}, Events()), allow_nan=False)

    outcomes = fuzz(f"config.json, {kind}", 60, lambda rng: damaged_json(rng, [config]), read, share=1 / 3)
    assert outcomes["read"] and outcomes["LLM_ARCHITECTURE"]


def test_weights_of_models(tmp_path, models):
    good = models("llama")
    data = _contents(good, "model.safetensors")
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    folder = _links(good, tmp_path / "model")

    def read(damaged):
        _put(folder, "model.safetensors", damaged)
        source = open_model(folder)
        for name in source.names:
            source.read(name)

    outcomes = fuzz("weights of language models", 120, lambda rng: _damaged_safetensors(rng, data, header), read, share=0.5)
    assert outcomes["read"] and outcomes["TENSORS_BROKEN"]


def test_indexes_of_shards(tmp_path, models):
    good = models("llama")
    folder = _links(good, tmp_path / "model")
    names = list(open_model(good).names)
    index = {"metadata": {"total_size": 1}, "weight_map": {name: "model.safetensors" for name in names}}

    def read(data):
        _put(folder, "model.safetensors.index.json", data)
        open_model(folder)

    outcomes = fuzz("indexes of shards", 60, lambda rng: damaged_json(rng, [index]), read)
    assert outcomes["read"] and outcomes["LLM_FOLDER"]


def test_tokenizers(tmp_path, tokenizer):
    files = {name: json.loads(_contents(tokenizer, name)) for name in ("tokenizer.json", "tokenizer_config.json")}
    folder = _links(tokenizer, tmp_path / "model")
    text = _put(tmp_path, "text.txt", b"abc abd " * 20)

    def make(rng):
        name = sorted(files)[rng.integers(2)]
        return name, damaged_json(rng, [files[name]])

    def read(damaged):
        _links(tokenizer, folder)
        _put(folder, *damaged)
        samples_of({"files": [text], "samples": None, "length": 4, "chat": True, "bos": True}, folder, 1 << 30)

    outcomes = fuzz("tokenizers", 200, make, read)
    assert outcomes["read"] and outcomes["LLM_TOKENIZER"]


def test_shards_of_quantized_models(tmp_path):
    """index.json is checked by TypeScript before Python opens it; the shards are not."""
    good, folder = write_tiny(tmp_path / "good", tmp_path / "settings"), tmp_path / "damaged"
    shards = {name: _contents(good, name) for name in os.listdir(good) if name.endswith(".safetensors")}
    headers = {name: json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]) for name, data in shards.items()}

    def make(rng):
        name = sorted(shards)[rng.integers(len(shards))]
        return name, _damaged_safetensors(rng, shards[name], headers[name])

    def read(damaged):
        _put(_links(good, folder), *damaged)
        reader = Reader(str(folder))
        for layer in [*reader.linears(), *reader.embeddings()]:
            assert layer.dequantized().shape == tuple(layer.meta["shape"])
        for name, _, entry in reader.floats():
            assert reader.float_tensor(name).shape == tuple(entry["shape"])

    outcomes = fuzz("shards of quantized models", 200, make, read, share=0.5)
    assert outcomes["read"] and outcomes["TENSORS_BROKEN"] and outcomes["ARTIFACT_BROKEN"]


def test_layer_files(tmp_path):
    import torch

    layers = {"model.layers.0.q_proj": torch.nn.Linear(64, 32), "model.layers.1.q_proj": torch.nn.Linear(64, 32), "head": torch.nn.Linear(64, 8)}
    entry = {
        "type": "Linear",
        "quant_strategy": "Quant_act_weight_eco",
        "weight": {"bit": 4, "group_size": 32, "weight_algo": "omni"},
        "input": {"bit": 16, "unsigned_quant": True, "input_algo": "min_max"},
    }
    good = {"model.layers.*.q_proj": entry, "head": {"type": "Linear", "quant_strategy": "Quant_lm_head", "weight": {"bit": 8}}}

    def read(data):
        found = read_settings(_put(tmp_path, "dopt_config.json", data), layers)
        for name, each in found.items():
            layer_settings(name, each, layers[name].in_features)

    outcomes = fuzz("layer files", 400, lambda rng: damaged_json(rng, [good, {"layer_strategy": good}]), read)
    assert outcomes["read"] and outcomes["DOPT_CONFIG_INVALID"]
