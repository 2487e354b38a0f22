"""stories260K, a real language model of 260 thousand weights: converted, and compared with llama2.c's own arithmetic."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import params_of

from dopt.events import Events
from dopt.llm.evaluate import evaluate
from dopt.llm.quantize import quantize

RECIPE = Path(__file__).resolve().parents[3] / "recipes" / "llm" / "llama2c_to_hf.py"


@pytest.fixture(scope="module")
def recipe():
    spec = importlib.util.spec_from_file_location("llama2c_to_hf", RECIPE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def stories(recipe, assets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stories")
    source = assets / "models" / "llm"
    recipe.convert(str(source / "stories260K.bin"), str(source / "tok512.bin"), str(folder))
    return str(folder)


def forward(settings, w, tokens):
    """run.c of llama2.c in float64: logits of every position."""

    def norm(x, weight):
        return x / np.sqrt((x * x).mean() + 1e-5) * weight

    heads, kv, size = settings["heads"], settings["kv_heads"], settings["dim"] // settings["heads"]
    keys = [[] for _ in range(settings["layers"])]
    values = [[] for _ in range(settings["layers"])]
    logits = []
    for position, token in enumerate(tokens):
        turn = position / 10000.0 ** (np.arange(0, size, 2) / size)

        def rotated(x):
            pairs = x.reshape(-1, size // 2, 2)
            a, b = pairs[..., 0], pairs[..., 1]
            return np.stack([a * np.cos(turn) - b * np.sin(turn), a * np.sin(turn) + b * np.cos(turn)], axis=-1).reshape(-1, size)

        x = w["embedding"][token].astype(np.float64)
        for layer in range(settings["layers"]):
            h = norm(x, w["rms_att"][layer])
            q = rotated(w["wq"][layer] @ h)
            keys[layer].append(rotated(w["wk"][layer] @ h))
            values[layer].append((w["wv"][layer] @ h).reshape(kv, size))
            parts = []
            for head in range(heads):
                group = head // (heads // kv)
                scores = np.array([k[group] @ q[head] for k in keys[layer]]) / np.sqrt(size)
                p = np.exp(scores - scores.max())
                parts.append((p / p.sum()) @ np.array([v[group] for v in values[layer]]))
            x = x + w["wo"][layer] @ np.concatenate(parts)
            h = norm(x, w["rms_ffn"][layer])
            gate = w["w1"][layer] @ h
            x = x + w["w2"][layer] @ (gate / (1 + np.exp(-gate)) * (w["w3"][layer] @ h))
        logits.append(w["embedding"] @ norm(x, w["rms_final"]))
    return np.array(logits)


def test_logits_and_tokens_are_those_of_llama2c(recipe, stories, assets):
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(stories)
    text = "Once upon a time, there was a little girl named Lily. She loved to play outside."
    tokens = [1, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    assert tokenizer.decode(tokens[1:]) == text and len(tokens) < 40
    settings, arrays = recipe.read(str(assets / "models" / "llm" / "stories260K.bin"))
    model = transformers.AutoModelForCausalLM.from_pretrained(stories).eval()
    with torch.no_grad():
        found = model(torch.tensor([tokens])).logits[0].numpy()
    assert np.abs(found - forward(settings, arrays, tokens)).max() < 1e-3


def test_four_bits_and_int16_activations_cost_little(stories, assets, tmp_path):
    texts = [each if isinstance(each, str) else each["text"] for each in json.loads((assets / "data" / "text" / "tinystories_1000.json").read_text())]
    files = []
    for name, part in (("calibrate", texts[:200]), ("judge", texts[800:900])):
        files.append(str(tmp_path / f"{name}.json"))
        (tmp_path / f"{name}.json").write_text(json.dumps(part))
    text = {"files": [files[0]], "samples": 32, "length": 128, "chat": False, "bos": True}
    results = {}
    activations = {"bits": 16, "kvBits": 16, "symmetric": True, "warnBelow": 35.0}
    for name, changes in (("nearest", {"rounding": "nearest", "scales": "absmax"}), ("solved", {"activations": activations})):
        params = params_of(stories, tmp_path / name, files[0], group=0, **changes)
        quantize({**params, "calibration": text, "batch": 8}, Events())
        for rounded in {False, "activations" in changes}:
            given = {"model": stories, "trustRemoteCode": False, "quantized": params["out"], "text": {**text, "files": [files[1]], "samples": 12}}
            given.update(activations=rounded, prompts=["Once upon a time"] if rounded else [], newTokens=12, batch=8, threads=1)
            results[name, rounded] = evaluate(given, Events())
    plain, int16 = results["solved", False]["quantized"], results["solved", True]["quantized"]
    assert results["solved", False]["float"]["nats"] < 1.9
    assert plain["kl"] < 0.5 * results["nearest", False]["quantized"]["kl"]
    assert abs(int16["perplexity"] / plain["perplexity"] - 1) < 0.01
    sample = results["solved", True]["samples"][0]
    assert sample["float"].strip() and sample["quantized"].strip()
