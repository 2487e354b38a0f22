"""The artifact of a quantized language model: written block by block, read back, gone on with after an interruption."""

import json

import numpy as np
import pytest

from dopt import native
from dopt.errors import DoptError
from dopt.llm.artifact import Reader, Writer, dequantize
from dopt.native_numpy import NumpyCore

RANDOM = np.random.default_rng(0)


def layer(outputs, inputs, groups, bits=4):
    limit = 1 << (bits - 1)
    integers = RANDOM.integers(-limit, limit, (outputs, inputs), dtype=np.int8)
    return integers, RANDOM.uniform(0.01, 1, (outputs, groups)).astype(np.float32)


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True}))
    for name in ("tokenizer.json", "model.safetensors", "model.safetensors.index.json"):
        (folder / name).write_text("{}")
    return folder


def write(folder, model, fingerprint="f", blocks=(0, 1)):
    writer = Writer(str(folder), fingerprint)
    if not writer.has("embed"):
        writer.embedding("embed", *layer(11, 6, 1, bits=8))
    for block in blocks:
        if writer.has_block(block):
            continue
        writer.begin_block(block)
        writer.linear(f"{block}.a", *layer(5, 8, 2), bits=4, group_size=4, strategy="gptq")
        writer.linear(f"{block}.b", *layer(3, 7, 1), bits=4, group_size=0, strategy="rtn")
        writer.linear(f"{block}.c", *layer(3, 8, 1, bits=8), bits=8, group_size=0, strategy="rtn")
        writer.floats(f"{block}.norm", np.ones(4, np.float16))
        writer.end_block(block)
    writer.activation("x", 0.5, 3, 16, False, -1.0, 2.0, float("inf"))
    writer.close({"model": str(model), "config": {"tie_word_embeddings": False}, "note": 1})
    return writer


def test_reads_what_was_written(tmp_path, model):
    out = tmp_path / "out"
    writer = Writer(str(out), "f")
    given = {name: layer(*shape) for name, shape in {"a": (5, 8, 2), "b": (3, 7, 1)}.items()}
    writer.begin_block(4)
    writer.linear("a", *given["a"], bits=4, group_size=4, strategy="gptq")
    writer.linear("b", *given["b"], bits=4, group_size=0, strategy="rtn")
    writer.floats("bias", np.array([0x3F80, 0xC000], np.uint16), bfloat16=True)
    writer.end_block(4)
    writer.close({"model": str(model), "config": {"tie_word_embeddings": False}})
    reader = Reader(str(out))
    for found in reader.linears():
        np.testing.assert_array_equal(found.integers, given[found.name][0])
        np.testing.assert_array_equal(found.scales, given[found.name][1])
        assert found.meta["block"] == 4
    np.testing.assert_array_equal(reader.float_tensor("bias"), np.float32([1, -2]))
    assert reader.config == {"architectures": ["LlamaForCausalLM"], "tie_word_embeddings": False}
    assert sorted(path.name for path in (out / "model").iterdir()) == ["config.json", "tokenizer.json"]
    slow = np.float32([[given["a"][0][n, k] * given["a"][1][n, k // 4] for k in range(8)] for n in range(5)])
    np.testing.assert_array_equal(dequantize(*given["a"]), slow)


def test_goes_on_with_finished_blocks_of_the_same_fingerprint(tmp_path, model):
    out = tmp_path / "out"
    write(out, model, blocks=(0,))
    kept = (out / "block-0000.safetensors").read_bytes()
    writer = Writer(str(out), "f")
    assert writer.has_block(0) and not writer.has_block(1) and writer.has("embed")
    write(out, model)
    assert (out / "block-0000.safetensors").read_bytes() == kept
    assert [shard["block"] for shard in Reader(str(out)).index["shards"]] == [0, 1, None]
    (out / "block-0001.safetensors").write_bytes(b"torn")
    assert not Writer(str(out), "f").has_block(1)
    assert not Writer(str(out), "other").has_block(0)
    with pytest.raises(DoptError, match="no index.json"):
        Reader(str(out))


def test_later_stages_add_activations_to_a_finished_artifact(tmp_path, model):
    write(tmp_path / "out", model)
    first = Reader(str(tmp_path / "out"))
    writer = Writer(str(tmp_path / "out"), first.fingerprint)
    writer.activation("y", 0.25, 0, 16, True, -1.0, 2.0, 60.0)
    writer.close({"more": 2})
    again = Reader(str(tmp_path / "out"))
    assert [each["name"] for each in again.activations] == ["x", "y"]
    assert again.activations[0]["sqnr"] is None
    assert (again.meta["note"], again.meta["more"]) == (1, 2)
    assert again.index["linears"] == first.index["linears"] and again.index["digest"] != first.index["digest"]


@pytest.mark.parametrize(
    "integers, scales, code",
    [
        (np.full((1, 4), 8, np.int8), np.ones((1, 1), np.float32), "ARTIFACT_RANGE"),
        (np.zeros((1, 4), np.int8), np.zeros((1, 1), np.float32), "ARTIFACT_SCALE"),
        (np.zeros((1, 4), np.int8), np.full((1, 1), np.nan, np.float32), "ARTIFACT_SCALE"),
        (np.zeros((1, 4), np.int8), np.ones((1, 2), np.float32), "ARTIFACT_SHAPE"),
    ],
)
def test_refuses_what_no_device_can_read(tmp_path, integers, scales, code):
    with pytest.raises(DoptError) as caught:
        Writer(str(tmp_path / "out")).linear("a", integers, scales, bits=4, group_size=0, strategy="rtn")
    assert caught.value.code == code


def test_a_full_disk_leaves_no_shard(tmp_path, monkeypatch):
    writer = Writer(str(tmp_path / "out"))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DoptError) as caught:
        writer.floats("norm", np.ones(4, np.float32))
    assert caught.value.code == "OUTPUT_WRITE"
    assert not [path for path in (tmp_path / "out").iterdir() if "norm" in path.name]


@pytest.mark.parametrize("columns", [1, 2, 7, 64])
def test_packing_is_the_same_in_both_cores(columns):
    integers = RANDOM.integers(-8, 8, (5, columns), dtype=np.int8)
    core, slow = native.load(), NumpyCore()
    packed = core.pack_int4(integers)
    np.testing.assert_array_equal(packed, slow.pack_int4(integers))
    np.testing.assert_array_equal(core.unpack_int4(packed, columns), integers)
    np.testing.assert_array_equal(slow.unpack_int4(packed, columns), integers)
    assert packed[0, 0] & 15 == integers[0, 0] & 15
