"""Rotations folded into the weights, and training of scales: both change the quantized model and not the float one."""

import json
import os

import numpy as np
import pytest
import torch
from conftest import damage, params_of, text_of

from dopt.events import Events
from dopt.llm.artifact import Reader
from dopt.llm.distil import distil, divergence
from dopt.llm.evaluate import evaluate
from dopt.llm.hadamard import Hadamard
from dopt.llm.load import open_model
from dopt.llm.quantize import quantize
from dopt.llm.restore import open_quantized
from dopt.llm.trial import GAIN


def whole(size, seed):
    """The matrix itself: the odd part, doubled until it is as large."""
    random = np.random.RandomState(seed)
    odd = size
    while odd % 2 == 0:
        odd //= 2
    matrix = np.linalg.qr(random.standard_normal((odd, odd)))[0] if odd > 1 else np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]]) / np.sqrt(2.0)
    return torch.from_numpy(matrix * random.choice([-1.0, 1.0], size)[None, :])


@pytest.mark.parametrize("size", [1, 2, 9, 12, 64, 100, 512, 768, 2048])
def test_a_rotation_in_parts_is_the_one_matrix_and_that_is_orthogonal_and_spreads(size):
    q, parts = whole(size, 3), Hadamard(size, 3)
    random = torch.Generator().manual_seed(size)
    matrix = torch.randn(5, 3, size, generator=random, dtype=torch.float64)
    assert torch.allclose(parts.rows(matrix), matrix @ q, atol=1e-12)
    assert torch.allclose(parts.rows(matrix[0, 0]), matrix[0, 0] @ q, atol=1e-12)
    assert torch.allclose(parts.columns(matrix[0].t()), q.t() @ matrix[0].t(), atol=1e-12)
    if size <= 768:
        assert torch.allclose(q @ q.t(), torch.eye(size, dtype=torch.float64), atol=1e-12)
    if size == 64:
        assert float((q.abs() - 1 / 8).abs().max()) < 1e-12


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma"])
def test_a_rotated_model_says_the_same(models, tokens, tmp_path, kind):
    params = params_of(models(kind), tmp_path, tokens, rotate="always")
    for each in params["linears"]:
        each["bits"], each["groupSize"] = 8, 0
    done = quantize(params, Events())
    assert done["warnings"] == [each for each in done["warnings"] if "otated" not in each]
    assert all(block["rotated"] for block in done["blocks"])
    source, restored = open_model(models(kind)), open_quantized(str(tmp_path))
    ids = torch.arange(60).reshape(2, 30) % 90
    logits = []
    for each in (source, restored):
        each.fill(each.network, "")
        with torch.no_grad():
            logits.append(each.network(ids).logits)
    # Eight bits a weight: the two differ by rounding alone, and their weights by a rotation.
    assert float((logits[0] - logits[1]).norm() / logits[0].norm()) < 0.05
    name = "model.layers.0.self_attn.q_proj"
    plain = source.read(f"{name}.weight").numpy()
    assert not np.allclose(plain, restored.reader.layer(name).dequantized(), atol=0.05)
    judged = {key: params[key] for key in ("model", "trustRemoteCode", "batch", "threads")}
    judged.update(quantized=str(tmp_path), text=text_of(tokens), activations=False, prompts=[], newTokens=1)
    assert max(evaluate(judged, Events())["quantized"]["blocks"]) < 0.05
    neutral = np.zeros if kind == "gemma" else np.ones  # Gemma multiplies by 1 + weight
    assert np.array_equal(restored.reader.float_tensor("model.layers.1.input_layernorm.weight"), neutral(64, np.float32))


def test_auto_keeps_what_is_better_and_says_why_not(models, tokens, tmp_path):
    said = []

    class Told(Events):
        def _send(self, event):
            said.append(event.get("message", ""))

    done = quantize(params_of(models("llama"), tmp_path / "one", tokens, rotate="auto", group=0), Told())
    plain, turned = [float(each) for each in next(m for m in said if "rotated." in m).replace(",", "").split() if "e-" in each]
    assert done["blocks"][0]["rotated"] == (turned < GAIN * plain)
    said.clear()
    fine = quantize(params_of(models("llama"), tmp_path / "fine", tokens, rotate="auto", group=32), Told())
    assert not fine["blocks"][0]["rotated"] and not any("rotated." in each for each in said)
    gpt2 = quantize(params_of(models("gpt2"), tmp_path / "two", tokens, rotate="auto"), Events())
    assert any("RMSNorm" in each for each in gpt2["warnings"])


def test_a_sink_in_the_residual_stream_is_rotated_away(models, tokens, tmp_path):
    def sink(tensors):
        tensors["model.embed_tokens.weight"][10, 5] = 1e5  # one token in ninety

    folder = damage(models("llama"), str(tmp_path / "model"), sink)
    activations = {"bits": 16, "kvBits": 16, "symmetric": True, "warnBelow": 35.0}
    lowest = {}
    for rotate in ("never", "auto"):
        done = quantize(params_of(folder, tmp_path / rotate, tokens, rotate=rotate, activations=activations), Events())
        lowest[rotate] = min(each["sqnr"] for each in done["activations"] if each["name"].endswith("layers.1:output"))
        assert done["blocks"][0]["rotated"] == (rotate == "auto")
    assert lowest["never"] < 35 and lowest["auto"] > lowest["never"] + 10


def distil_params(model, quantized, out, tokens, **changes):
    text = text_of(tokens, samples=24)
    return {
        **{"model": model, "trustRemoteCode": False, "quantized": str(quantized), "out": str(out), "text": text},
        **{"loss": "kl", "top": 32, "temperature": 1.0, "trainable": ["scales", "norms"], "epochs": 3, "microBatch": 4},
        **{"accumulation": 1, "learningRate": 2e-3, "weightDecay": 0.0, "warmupSteps": 2, "schedule": "cosine"},
        **{"heldBack": 4, "checkpointSteps": 3, "threads": 1, "processes": 1, "resume": False, "seed": 0},
        **changes,
    }


def test_distillation_lowers_the_divergence_and_keeps_integers(models, tokens, tmp_path):
    quantize(params_of(models("llama"), tmp_path / "q", tokens, rounding="nearest", scales="absmax"), Events())
    result = distil(distil_params(models("llama"), tmp_path / "q", tmp_path / "d", tokens), Events())
    json.dumps(result, allow_nan=False)
    assert result["after"] < 0.98 * result["before"] and result["steps"] == len(result["losses"]) == 14
    before, after = Reader(str(tmp_path / "q")), Reader(str(tmp_path / "d"))
    name = "model.layers.1.mlp.down_proj"
    assert np.array_equal(before.layer(name).integers, after.layer(name).integers)
    assert not np.array_equal(before.layer(name).scales, after.layer(name).scales)
    assert not os.path.exists(tmp_path / "d" / "checkpoint.safetensors")
    two = distil(distil_params(models("llama"), tmp_path / "q", tmp_path / "two", tokens, processes=2), Events())
    assert two["losses"] == pytest.approx(result["losses"], rel=1e-3)  # sums over samples in another order
    assert two["after"] == pytest.approx(result["after"], rel=1e-3)
    mse = distil(distil_params(models("llama"), tmp_path / "q", tmp_path / "m", tokens, loss="mse", epochs=1), Events())
    assert mse["after"] <= mse["before"]


def test_an_interrupted_distillation_goes_on_to_the_same_result(models, tokens, tmp_path):
    quantize(params_of(models("gpt2"), tmp_path / "q", tokens, rounding="nearest"), Events())
    params = distil_params(models("gpt2"), tmp_path / "q", tmp_path / "d", tokens, epochs=2, resume=True)
    whole = distil({**params, "out": str(tmp_path / "whole")}, Events())

    class Ended(Exception):
        pass

    class Ender(Events):
        def _send(self, event):
            if "step 7 of" in event.get("message", ""):
                raise Ended()

    with pytest.raises(Ended):
        distil(params, Ender())
    resumed = distil(params, Events())
    assert resumed["resumedAt"] == 6 and resumed["digest"] == whole["digest"]


def test_divergence_is_that_of_distributions_when_all_tokens_are_kept():
    torch.manual_seed(0)
    mine, wanted = torch.randn(2, 3, 9), torch.log_softmax(torch.randn(2, 3, 9), -1)
    order = wanted.topk(8, dim=-1)
    full = (wanted.exp() * (wanted - torch.log_softmax(mine, -1))).sum(-1).mean()
    assert float(divergence(mine, order.values, order.indices, 1.0)) == pytest.approx(float(full), rel=1e-4)
