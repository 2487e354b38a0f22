"""Exports for loaders of weights, each read back by a reader that shares no code with its writer.

What a reader makes of a file must be the weights of the run to the last bit.
"""

import json
import struct

import numpy as np
import pytest
from tiny_artifact import CONFIG, VOCABULARY, expected, linears, names, reference, write_tiny

from dopt import safetensors
from dopt.errors import DoptError
from dopt.events import Events
from dopt.llm.artifact import Reader
from dopt.llm.export import export


def nibbles(words, count):
    """Unsigned nibbles of int32 words along the last axis, lowest first."""
    unsigned = words.view(np.uint32)
    return np.stack([(unsigned >> (4 * i)) & 15 for i in range(8)], -1).reshape(*words.shape[:-1], -1)[..., :count]


def test_compressed_tensors(run, artifact):
    out, result = run("compressed-tensors", dtype="float16")
    tensors = safetensors.read(str(out / "model.safetensors"))
    for name in names(artifact):
        outputs, inputs = tensors[f"{name}.weight_shape"]
        packed, scale = np.array(tensors[f"{name}.weight_packed"]), tensors[f"{name}.weight_scale"].astype(np.float32)
        if name == "lm_head":
            values = packed.view(np.uint8).reshape(outputs, inputs).astype(np.int32) - 128
        else:
            values = nibbles(packed, inputs).astype(np.int32) - 8
        weight = values.astype(np.float32) * np.repeat(scale, inputs // scale.shape[1], axis=1)
        np.testing.assert_array_equal(weight, expected(artifact, name))
    config = json.loads((out / "config.json").read_text())
    groups = config["quantization_config"]["config_groups"]
    assert groups["group_0"]["targets"] == ["lm_head"] and groups["group_1"]["targets"] == ["Linear"]
    assert (groups["group_0"]["weights"]["num_bits"], groups["group_1"]["weights"]["num_bits"]) == (8, 4)
    assert config["tie_word_embeddings"] is False and config["dtype"] == "float16"
    assert (result["layers"], result["float"], result["notes"]) == (15, [], [])
    assert (out / "tokenizer.json").exists()


def test_compressed_tensors_opens_in_transformers(run, artifact):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("compressed_tensors", reason="needs the package compressed-tensors")
    out, _ = run("compressed-tensors", dtype="float32")
    model = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    with torch.no_grad():
        found = model(torch.arange(8)[None]).logits
    wanted = reference(artifact, np.arange(8)[None])
    np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=1e-6 * float(np.abs(wanted).max()))


def test_gptq(run, artifact):
    out, result = run("gptq")
    tensors = safetensors.read(str(out / "model.safetensors"))
    for name in names(artifact):
        width = 8 if name == "lm_head" else 4
        qweight, scales = np.array(tensors[f"{name}.qweight"]), tensors[f"{name}.scales"]
        groups, outputs = scales.shape
        # As AutoGPTQ's qlinear_cuda does: rows of a word one after the other, and a zero that is one short.
        shifts = np.arange(0, 32, width, dtype=np.uint32)
        mask = np.uint32((1 << width) - 1)
        rows = ((qweight.view(np.uint32)[:, None, :] >> shifts[None, :, None]) & mask).reshape(-1, outputs)
        words = np.array(tensors[f"{name}.qzeros"]).view(np.uint32)
        zeros = ((words[:, :, None] >> shifts) & mask).reshape(groups, -1)[:, :outputs] + 1
        index = tensors[f"{name}.g_idx"]
        weight = (rows.astype(np.int32) - zeros[index].astype(np.int32)).astype(np.float32) * scales[index].astype(np.float32)
        np.testing.assert_array_equal(weight.T, expected(artifact, name))
    config = json.loads((out / "quantize_config.json").read_text())
    size = artifact.layer(names(artifact)[0]).meta["groupSize"] or -1
    assert (config["bits"], config["group_size"], config["sym"], config["desc_act"]) == (4, size, True, False)
    assert config["dynamic"]["+:^lm_head$"] == {"bits": 8, "group_size": -1} and config["lm_head"] is True
    assert json.loads((out / "config.json").read_text())["quantization_config"] == config
    assert result["notes"] == []


def test_awq(run, artifact):
    out, result = run("awq")
    tensors = safetensors.read(str(out / "model.safetensors"))
    for name in names(artifact)[:-1]:
        scales = tensors[f"{name}.scales"].astype(np.float32)
        inputs = tensors[f"{name}.qweight"].shape[0]
        # Nibbles in the order of the kernel, put back as AutoAWQ's dequantizer does.
        order = [0, 4, 1, 5, 2, 6, 3, 7]
        parts = [
            nibbles(np.array(tensors[f"{name}.{key}"])[..., None], 8)[..., order].reshape(-1, scales.shape[1]).astype(np.int32)
            for key in ("qweight", "qzeros")
        ]
        group = np.arange(inputs) // (inputs // scales.shape[0])
        weight = (parts[0] - parts[1][group]).astype(np.float32) * scales[group]
        np.testing.assert_array_equal(weight.T, expected(artifact, name))
    assert [each["name"] for each in result["float"]] == ["lm_head"]
    config = json.loads((out / "config.json").read_text())["quantization_config"]
    assert config["modules_to_not_convert"] == ["lm_head"] and config["version"] == "gemm"
    np.testing.assert_array_equal(tensors["lm_head.weight"], expected(artifact, "lm_head").astype(np.float16))


def read_gguf(path):
    """Metadata and {name: (ne, type, bytes)} of a GGUF file, from the text of its specification."""
    data = path.read_bytes()
    place = 0

    def take(form):
        nonlocal place
        values = struct.unpack_from("<" + form, data, place)
        place += struct.calcsize("<" + form)
        return values[0] if len(values) == 1 else values

    def text():
        nonlocal place
        length = take("Q")
        place += length
        return data[place - length : place].decode()

    def value(kind):
        if kind == 8:
            return text()
        if kind == 9:
            inner, count = take("I"), take("Q")
            return [value(inner) for _ in range(count)]
        return take({4: "I", 5: "i", 6: "f", 7: "?"}[kind])

    assert data[:4] == b"GGUF"
    place = 4
    assert take("I") == 3
    count, pairs = take("Q"), take("Q")
    metadata = {}
    for _ in range(pairs):
        key = text()
        metadata[key] = value(take("I"))
    infos = []
    for _ in range(count):
        name, rank = text(), take("I")
        infos.append((name, [take("Q") for _ in range(rank)], take("I"), take("Q")))
    start = place + -place % 32
    sizes = {0: (1, 4), 1: (1, 2), 2: (32, 18), 8: (32, 34)}
    tensors = {}
    for name, ne, kind, offset in infos:
        elements, size = sizes[kind]
        length = int(np.prod(ne)) // elements * size
        assert offset % 32 == 0 and start + offset + length <= len(data)
        tensors[name] = (ne, kind, data[start + offset : start + offset + length])
    return metadata, tensors


def blocks_of(ne, kind, data):
    """Rows of float32 of a tensor, block by block."""
    if kind in (0, 1):
        return np.frombuffer(data, np.float32 if kind == 0 else np.float16).reshape(ne[::-1])
    size = 18 if kind == 2 else 34
    values = []
    for at in range(0, len(data), size):
        (scale,) = struct.unpack_from("<e", data, at)
        quants = np.frombuffer(data, np.uint8 if kind == 2 else np.int8, size - 2, at + 2).astype(np.int32)
        if kind == 2:
            quants = np.concatenate([quants & 15, quants >> 4]) - 8
        values.append(quants.astype(np.float32) * np.float32(scale))
    return np.concatenate(values).reshape(ne[::-1])


def test_gguf(run, artifact):
    out, result = run("gguf")
    metadata, tensors = read_gguf(out / "model.gguf")
    assert metadata["general.architecture"] == "llama" and metadata["llama.attention.head_count_kv"] == 2
    assert metadata["tokenizer.ggml.model"] == "gpt2" and metadata["tokenizer.ggml.tokens"][26] == "abc"
    assert metadata["tokenizer.ggml.merges"] == ["a b", "ab c"] and metadata["tokenizer.ggml.bos_token_id"] == 0
    assert len(metadata["tokenizer.ggml.token_type"]) == VOCABULARY
    pairs = {
        "model.embed_tokens": ("token_embd", 8),
        "lm_head": ("output", 8),
        "model.layers.1.self_attn.v_proj": ("blk.1.attn_v", 2),
        "model.layers.0.mlp.down_proj": ("blk.0.ffn_down", 2),
    }
    for name, (target, kind) in pairs.items():
        assert tensors[f"{target}.weight"][1] == kind
        np.testing.assert_array_equal(blocks_of(*tensors[f"{target}.weight"]), expected(artifact, name))
    for part, heads in (("q", 4), ("k", 2)):
        rows = blocks_of(*tensors[f"blk.0.attn_{part}.weight"])
        wanted = expected(artifact, f"model.layers.0.self_attn.{part}_proj")
        size = rows.shape[0] // heads
        for row in range(rows.shape[0]):
            head, within = divmod(row, size)
            # Neighbouring rows of a head are a pair that rotates; in transformers they lie half a head apart.
            source = head * size + within // 2 + (within % 2) * (size // 2)
            np.testing.assert_array_equal(rows[row], wanted[source])
    assert result["float"] == [] and len(tensors) == 2 * (len(linears()) + 2) + 3


def test_gguf_is_read_by_the_package(run, artifact):
    gguf = pytest.importorskip("gguf", reason="needs the package gguf")
    out, _ = run("gguf")
    reader = gguf.GGUFReader(out / "model.gguf")
    assert reader.fields["llama.block_count"].contents() == CONFIG["num_hidden_layers"]
    found = {tensor.name: tensor for tensor in reader.tensors}
    for name, target in (("model.layers.1.mlp.up_proj", "blk.1.ffn_up"), ("lm_head", "output")):
        tensor = found[f"{target}.weight"]
        weight = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_array_equal(weight, expected(artifact, name))


def test_scales_that_a_format_rounds_are_told(tmp_path):
    folder = write_tiny(tmp_path / "artifact", tmp_path / "model", half=False, activations=False)
    params = {"artifact": folder, "format": "gptq", "out": str(tmp_path / "out"), "options": {}}
    (note,) = export(params, Events())["notes"]
    assert "rounded to float16" in note
    with pytest.raises(DoptError) as caught:
        export({**params, "format": "ranges", "out": str(tmp_path / "other")}, Events())
    assert caught.value.code == "EXPORT_NO_RANGES" and not (tmp_path / "other").exists()


@pytest.mark.parametrize("kind", ["gpt2", "mixtral", "gpt_oss"])
def test_layers_that_are_no_linear_are_stored_as_the_model_has_them(tmp_path, models, tokens, kind):
    torch = pytest.importorskip("torch")
    from conftest import params_of

    import dopt.llm.quantize as core
    from dopt.llm.export.stored import forms_of
    from dopt.llm.restore import open_quantized

    folder = str(tmp_path / "artifact")
    core.quantize(params_of(models(kind), folder, tokens), Events())
    restored = open_quantized(folder, False)
    wanted = {name: restored.keep(name).float() for name in restored.names}
    params = {"artifact": folder, "format": "original", "out": str(tmp_path / "original"), "options": {"stages": [1, 3]}}
    export(params, Events())
    for file in ("trained_quant_weight.pth", "fake_quant_weight.pth"):
        state = torch.load(str(tmp_path / "original" / file))
        assert not set(wanted) - set(state)
        for name, weight in wanted.items():
            torch.testing.assert_close(state[name], weight, rtol=0, atol=0)
    params.update({"format": "compressed-tensors", "out": str(tmp_path / "ct"), "options": {"dtype": "float32"}})
    result = export(params, Events())
    tensors = safetensors.read(str(tmp_path / "ct" / "model.safetensors"))
    kept = {each["name"] for each in result["float"]}
    stored = {name for name in wanted if name in tensors}
    assert kept == set(forms_of(Reader(folder)))
    for name in stored:
        torch.testing.assert_close(torch.from_numpy(np.array(tensors[name])), wanted[name], rtol=0, atol=0)
