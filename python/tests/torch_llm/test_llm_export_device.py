"""Exports for devices and runtimes, with activations, each read back by a reader that shares no code with its writer.

What a reader makes of a file must be the weights of the run to the last bit.
"""

import json

import numpy as np
import pytest
from tiny_artifact import VOCABULARY, expected, names, reference, write_tiny

from dopt.errors import DoptError
from dopt.events import Events
from dopt.llm.artifact import Reader
from dopt.llm.export import export


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
    from dopt.llm.whole import observe_all
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
