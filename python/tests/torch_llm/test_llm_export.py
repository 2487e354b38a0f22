"""Exports of a quantized language model, each read back by a reader that shares no code with its writer.

What a reader makes of a file must be the weights of the run to the last bit.
"""

import json
import struct

import numpy as np
import pytest
from tiny_artifact import CONFIG, VOCABULARY, linears, write_tiny

from dopt import safetensors
from dopt.errors import DoptError
from dopt.events import Events
from dopt.llm.artifact import Reader
from dopt.llm.export import export


@pytest.fixture(scope="module", params=[32, 0], ids=["groups", "channels"])
def artifact(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("llm")
    return Reader(write_tiny(folder / "artifact", folder / "model", group_size=request.param))


@pytest.fixture
def run(tmp_path, artifact):
    def call(format, **options):
        out = tmp_path / "out"
        result = export(
            {"artifact": artifact.folder, "format": format, "out": str(out), "options": options}, Events()
        )
        json.dumps(result, allow_nan=False)
        return out, result

    return call


def expected(artifact, name):
    """The slow, obvious dequantization: float32 product of one integer and one scale at a time."""
    layer = artifact.layer(name)
    size = layer.integers.shape[1] // layer.scales.shape[1]
    values = [
        [np.float32(q) * layer.scales[n, k // size] for k, q in enumerate(row)] for n, row in enumerate(layer.integers)
    ]
    return np.array(values, np.float32)


def nibbles(words, count):
    """Unsigned nibbles of int32 words along the last axis, lowest first."""
    unsigned = words.view(np.uint32)
    return np.stack([(unsigned >> (4 * i)) & 15 for i in range(8)], -1).reshape(*words.shape[:-1], -1)[..., :count]


def names(artifact):
    return [entry["name"] for entry in artifact.index["linears"]]


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


@pytest.mark.parametrize("version", ["1.0.0", "2.0.0"])
def test_aimet_encodings(run, artifact, version):
    out, _ = run("aimet-encodings", encodingsVersion=version)
    (path,) = out.iterdir()
    data = json.loads(path.read_text())
    assert data["version"] == version
    if version == "1.0.0":
        weights = {each["name"]: each for each in data["param_encodings"]}
        ranges = {each["name"]: each for each in data["activation_encodings"]}
        assert ranges["model.layers.0.mlp.down_proj:input"]["offset"] == [-5 - 32768]
    else:
        weights = ranges = {each["name"]: each for each in data["encodings"]}
        assert ranges["model.layers.0.mlp.down_proj:input"]["y_zero_point"] == 5
        assert ranges["lm_head:input"]["output_dtype"] == "int16"
    for name in [*names(artifact), "model.embed_tokens"]:
        layer, found = artifact.layer(name), weights[f"{name}.weight"]
        scale = np.array(found["scale" if version == "1.0.0" else "y_scale"], np.float32)
        np.testing.assert_array_equal(scale.reshape(layer.scales.shape), layer.scales)
        if version == "1.0.0":
            assert set(found["offset"]) == {-(2 ** (found["bw"] - 1))} and found["bw"] == layer.meta["bits"]


def test_ranges(run, artifact):
    out, _ = run("ranges")
    data = json.loads((out / "int16_scales.json").read_text())
    assert [each["name"] for each in data["tensors"]] == ["lm_head:input", "model.layers.0.mlp.down_proj:input"]
    assert data["tensors"][1]["scale"] == [2.0**-14] and data["tensors"][1]["zero_point"] == [5]


def load(path):
    torch = pytest.importorskip("torch")
    return {name: value.numpy() for name, value in torch.load(path, map_location="cpu").items()}


def test_original_files(run, artifact):
    pytest.importorskip("torch")
    out, _ = run("original", quantParam2=True, embeddingSeparate=True, lmHeadSize=64)
    first, second = load(out / "trained_quant_weight.pth"), load(out / "trained.pth")
    third = load(out / "fake_quant_weight.pth")
    table = np.arange(-8, 8, dtype=np.float32)
    for name in names(artifact):
        wanted = expected(artifact, name)
        np.testing.assert_array_equal(first[f"{name}.weight"], wanted)
        scale = second[f"{name}.weight_scale"]
        found = third[f"{name}.weight"]
        if name == "lm_head":
            assert found.shape == (64, 64) and not found[VOCABULARY:].any()
            np.testing.assert_array_equal(found[:VOCABULARY], wanted)
            continue
        assert found.min() >= 0 and found.max() <= 15 and (table[found.astype(int)] < 0).mean() > 0.4
        size = wanted.shape[1] // scale.shape[1]
        np.testing.assert_array_equal(table[found.astype(int)] * np.repeat(scale, size, axis=1), wanted)
    assert second["model.layers.0.mlp.down_proj.input_zero_point"] == 5
    embedding = artifact.layer("model.embed_tokens")
    integers = np.frombuffer((out / "embedding_weight.bin").read_bytes(), np.int8).reshape(VOCABULARY, 64)
    scales = np.frombuffer((out / "embedding_scale.bin").read_bytes(), "<f4")
    np.testing.assert_array_equal(integers, embedding.integers)
    np.testing.assert_array_equal(scales, embedding.scales[:, 0])
    params = {each["name"]: each for each in json.loads((out / "quant_params.json").read_text())["tensors"]}
    assert len(params["lm_head.weight"]["scale"]) == 64
    np.testing.assert_array_equal(np.float32(params["lm_head.weight"]["scale"][:VOCABULARY]), artifact.layer("lm_head").scales[:, 0])


def test_original_files_without_indices_hold_weights_on_their_grid(run, artifact):
    pytest.importorskip("torch")
    out, _ = run("original", stages=[3], embeddingSeparate=False)
    assert sorted(path.name for path in out.iterdir()) == ["fake_quant_weight.pth", "quant_params.json"]
    found = load(out / "fake_quant_weight.pth")
    for name in names(artifact):
        np.testing.assert_array_equal(found[f"{name}.weight"], expected(artifact, name))


def test_a_head_is_never_cut(run):
    pytest.importorskip("torch")
    with pytest.raises(DoptError) as caught:
        run("original", lmHeadSize=40)
    assert caught.value.code == "LM_HEAD_SIZE"


def test_what_is_there_is_not_overwritten(run, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(DoptError) as caught:
        run("gptq")
    assert caught.value.code == "EXPORT_EXISTS"


def test_scales_that_a_format_rounds_are_told(tmp_path):
    folder = write_tiny(tmp_path / "artifact", tmp_path / "model", half=False, activations=False)
    params = {"artifact": folder, "format": "gptq", "out": str(tmp_path / "out"), "options": {}}
    (note,) = export(params, Events())["notes"]
    assert "rounded to float16" in note
    with pytest.raises(DoptError) as caught:
        export({**params, "format": "ranges", "out": str(tmp_path / "other")}, Events())
    assert caught.value.code == "EXPORT_NO_RANGES" and not (tmp_path / "other").exists()


def reference(artifact, tokens):
    """Logits of the model of transformers with the weights of the run, and their cache-free positions."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.AutoConfig.from_pretrained(artifact.model_folder)
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    state = {f"{name}.weight": torch.from_numpy(expected(artifact, name)) for name in names(artifact)}
    state["model.embed_tokens.weight"] = torch.from_numpy(expected(artifact, "model.embed_tokens"))
    state.update({name: torch.from_numpy(np.array(array)) for name, array, _ in artifact.floats()})
    model.load_state_dict(state)
    with torch.no_grad():
        return model(torch.from_numpy(tokens)).logits.numpy()


def onnx_weight(proto, folder):
    """Raw bytes of an initializer, in the graph or in the file beside it."""
    if proto.data_location != proto.EXTERNAL:
        return proto.raw_data
    where = {each.key: each.value for each in proto.external_data}
    with open(folder / where["location"], "rb") as file:
        file.seek(int(where["offset"]))
        return file.read(int(where["length"]))


@pytest.mark.parametrize("mode", ["onnx-qdq", "onnx-matmulnbits"])
def test_onnx(run, artifact, mode):
    onnx = pytest.importorskip("onnx")
    out, result = run(mode)
    model = onnx.load(str(out / "model.onnx"), load_external_data=False)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for name in names(artifact):
        width = artifact.layer(name).meta["bits"]
        raw = np.frombuffer(onnx_weight(tensors[f"{name}.weight"], out), np.uint8)
        scales = np.frombuffer(onnx_weight(tensors[f"{name}.scales"], out), np.float32)
        wanted = expected(artifact, name)
        values = raw.astype(np.int32) if width == 8 else np.stack([raw & 15, raw >> 4], -1).reshape(-1).astype(np.int32)
        if mode == "onnx-qdq":
            half = 1 << (width - 1)
            values = ((values ^ half) - half).reshape(wanted.shape[::-1])
            groups = scales.size // wanted.shape[0]
            weight = values * np.repeat(scales.reshape(groups, -1), wanted.shape[1] // groups, axis=0)
            np.testing.assert_array_equal(weight.T.astype(np.float32), wanted)
        else:
            values = values.reshape(wanted.shape) - (1 << (width - 1))
            blocks = scales.reshape(wanted.shape[0], -1)
            weight = values * np.repeat(blocks, wanted.shape[1] // blocks.shape[1], axis=1)
            np.testing.assert_array_equal(weight.astype(np.float32), wanted)
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("QuantizeLinear") == (2 if mode == "onnx-qdq" else 0)
    assert result["float"] == [] and result["notes"] == []


@pytest.mark.parametrize("mode", ["onnx-qdq", "onnx-matmulnbits"])
def test_onnx_runs_with_and_without_a_cache(tmp_path, mode):
    ort = pytest.importorskip("onnxruntime")
    if tuple(int(part) for part in ort.__version__.split(".")[:2]) < (1, 20):
        pytest.skip(f"needs onnxruntime 1.20 or newer for 4-bit tensors, not {ort.__version__}")
    folder = write_tiny(tmp_path / "artifact", tmp_path / "model", activations=False)
    artifact, out = Reader(folder), tmp_path / "out"
    export({"artifact": folder, "format": mode, "out": str(out), "options": {}}, Events())
    settings = ort.SessionOptions()
    # With optimizations, ONNX Runtime rounds the inputs of 4-bit products to 8 bits of its own accord.
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(out / "model.onnx"), settings, providers=["CPUExecutionProvider"])
    tokens = np.arange(1, 13, dtype=np.int64).reshape(2, 6)
    empty = {
        each.name: np.zeros((2, 2, 0, 16), np.float32) for each in session.get_inputs() if each.name != "input_ids"
    }
    wanted = reference(artifact, tokens)
    tolerance = 1e-5 * np.abs(wanted).max()
    whole = session.run(["logits"], {"input_ids": tokens, **empty})[0]
    np.testing.assert_allclose(whole, wanted, rtol=0, atol=tolerance)
    outputs = [each.name for each in session.get_outputs()]
    first = dict(zip(outputs, session.run(outputs, {"input_ids": tokens[:, :4], **empty})))
    past = {name.replace("present", "past"): value for name, value in first.items() if name != "logits"}
    rest = session.run(["logits"], {"input_ids": tokens[:, 4:], **past})[0]
    np.testing.assert_allclose(rest, wanted[:, 4:], rtol=0, atol=tolerance)


def test_onnx_rounds_where_the_simulation_does(tmp_path):
    ort = pytest.importorskip("onnxruntime")
    torch = pytest.importorskip("torch")
    if tuple(int(part) for part in ort.__version__.split(".")[:2]) < (1, 20):
        pytest.skip(f"needs onnxruntime 1.20 or newer for 4-bit tensors, not {ort.__version__}")
    from dopt.llm.artifact import Writer
    from dopt.llm.evaluate import observe_all
    from dopt.llm.ranges import Ranges, grids_of, write
    from dopt.llm.restore import open_quantized
    from dopt.llm.simulate import Grids

    folder = write_tiny(tmp_path / "artifact", tmp_path / "model", activations=False)
    tokens = np.arange(1, 25, dtype=np.int64).reshape(2, 12)
    batches = [torch.from_numpy(tokens)]
    seen, options = Ranges(), {"bits": 8, "kvBits": 8, "symmetric": False, "warnBelow": 0}
    observe_all(open_quantized(folder, False), batches, seen.tap, 1, Events())
    grids = grids_of(seen.state(), options)
    write(Writer(folder, Reader(folder).fingerprint), grids, options)
    out = tmp_path / "out"
    result = export({"artifact": folder, "format": "onnx-qdq", "out": str(out), "options": {}}, Events())
    assert result["notes"] == []
    taps, simulated = Grids(Reader(folder).activations), []

    def tap(name, x):
        x = taps.tap(name, x)
        if name == "lm_head:output":
            simulated.append(x.numpy())
        return x

    observe_all(open_quantized(folder, False), batches, tap, 1, Events())
    settings = ort.SessionOptions()
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(out / "model.onnx"), settings, providers=["CPUExecutionProvider"])
    empty = {each.name: np.zeros((2, 2, 0, 16), np.float32) for each in session.get_inputs() if each.name != "input_ids"}
    logits = session.run(["logits"], {"input_ids": tokens, **empty})[0]
    step = next(grid["scale"] for grid in grids if grid["name"] == "lm_head:output")
    # A sum that comes in another order may fall to the other side of a step of 8 bits, and everything behind it follows; a
    # tensor that is rounded on one side only moves most logits.
    assert np.mean(np.abs(logits - simulated[0]) < step / 2) > 0.9


@pytest.mark.parametrize("kind", ["gpt2", "mixtral"])
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
