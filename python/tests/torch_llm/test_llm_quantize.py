"""Language models: opened and run block by block, quantized, evaluated, resumed."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from conftest import damage, params_of, text_of

from dopt.errors import DoptError
from dopt.events import Events
from dopt.llm import block
from dopt.llm.artifact import Reader
from dopt.llm.evaluate import evaluate
from dopt.llm.inspect import describe
from dopt.llm.journal import Journal
from dopt.llm.load import open_model
from dopt.llm.quantize import quantize
from dopt.llm.stream import Stream

KINDS = ["llama", "qwen2", "gpt2", "mixtral", "gpt_oss"]


@pytest.mark.parametrize("kind", KINDS)
def test_block_by_block_is_the_model(models, kind):
    source = open_model(models(kind))
    assert source.whole is None
    stream = Stream(source)
    ids = torch.arange(40).reshape(2, 20) % 90
    hidden = stream.begin(ids)
    with torch.no_grad():
        for index in range(len(stream)):
            stream.load(index)
            hidden = stream.run(index, hidden)
            stream.drop(index)
        whole = transformers.AutoModelForCausalLM.from_pretrained(models(kind), attn_implementation="eager").eval()
        whole.config._experts_implementation = "eager"
        assert torch.equal(stream.end(ids, hidden), whole(ids).logits)


def test_inspect_finds_every_matrix(models):
    llama, gpt2, mixtral = (describe(open_model(models(kind))) for kind in ("llama", "gpt2", "mixtral"))
    assert [each["name"].rpartition(".")[2] for each in llama["linears"][:7]] == (
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    )
    assert len(llama["linears"]) == 3 * 7 + 1 and llama["linears"][-1]["head"] and llama["uncovered"] == []
    assert gpt2["linears"][0]["kind"] == "conv1d" and gpt2["linears"][0]["shape"] == [192, 64] and gpt2["tied"]
    experts = [each for each in mixtral["linears"] if ".experts." in each["name"]]
    covered = sum(each["shape"][0] * each["shape"][1] for each in experts)
    assert covered == 3 * 4 * 3 * 64 * 96
    routers = [each for each in mixtral["uncovered"] if "gate" in each["name"]]
    assert len(routers) == 3 or not any(each["shape"][0] == 4 for each in mixtral["linears"])
    assert llama["tokenizer"] is None and llama["rotation"]["possible"] and not gpt2["rotation"]["possible"]


def run(models, tokens, out, kind="llama", **changes):
    return quantize(params_of(models(kind), out, tokens, **changes), Events())


def kl(models, tokens, folder, kind="llama"):
    text = text_of(tokens, samples=8)
    given = {"model": models(kind), "trustRemoteCode": False, "quantized": str(folder), "text": text, "activations": False}
    result = evaluate({**given, "prompts": [], "newTokens": 1, "batch": 2, "threads": 1}, Events())
    json.dumps(result, allow_nan=False)
    return result["quantized"]["kl"]


@pytest.mark.parametrize("kind", KINDS)
def test_solved_weights_are_closer_than_rounded_ones(models, tokens, tmp_path, kind):
    rounded = run(models, tokens, tmp_path / "rounded", kind, rounding="nearest", scales="absmax")
    solved = run(models, tokens, tmp_path / "solved", kind)
    json.dumps(solved, allow_nan=False)
    assert solved["blocks"][-1]["error"] < 0.8 * rounded["blocks"][-1]["error"]
    assert kl(models, tokens, tmp_path / "solved", kind) < kl(models, tokens, tmp_path / "rounded", kind)
    assert all(each["error"] <= each["errorNearest"] for each in solved["linears"])
    assert not os.path.exists(tmp_path / "solved" / "journal.json")


def test_threads_and_repeated_passes_change_nothing(models, tokens, tmp_path):
    first = run(models, tokens, tmp_path / "one")["digest"]
    assert run(models, tokens, tmp_path / "two", threads=2)["digest"] == first
    assert run(models, tokens, tmp_path / "three", lockstep=False)["digest"] == first


def test_the_float_model_runs_no_further_than_it_judges(models, tokens, tmp_path, monkeypatch):
    sparse = run(models, tokens, tmp_path / "sparse", ridges=[], heads=False)
    assert run(models, tokens, tmp_path / "repeated", ridges=[], heads=False, lockstep=False)["digest"] == sparse["digest"]
    states = block.States([None, torch.ones(1, 2, 3)], [torch.zeros(1, 2, 3)] * 2)
    journal = Journal(str(tmp_path), "same")
    journal.write(1, states, {})
    assert [each is None for each in journal.states(1).float] == [True, False]
    monkeypatch.setattr("dopt.llm.quantize.needs_float", lambda *_: True)
    everywhere = run(models, tokens, tmp_path / "everywhere", ridges=[], heads=False)
    assert everywhere["digest"] == sparse["digest"]
    errors = [[each["error"] for each in found["blocks"]] for found in (sparse, everywhere)]
    assert errors[0] == pytest.approx(errors[1], rel=0.5) and errors[0] != errors[1]


def test_trained_scales_bring_a_block_closer_and_keep_integers(models, tokens, tmp_path, monkeypatch):
    monkeypatch.setattr("dopt.llm.quantize.needs_float", lambda *_: True)  # the errors of both are those of the same samples
    found = {}
    for name, polish in (("plain", 0), ("trained", 3)):
        params = params_of(models("llama"), tmp_path / name, tokens, group=0, batch=12, rounding="nearest", polish=polish)
        found[name] = quantize({**params, "calibration": text_of(tokens, samples=96)}, Events())
    assert found["trained"]["blocks"][-1]["error"] < 0.98 * found["plain"]["blocks"][-1]["error"]
    assert kl(models, tokens, tmp_path / "trained") < kl(models, tokens, tmp_path / "plain")
    before, after = (Reader(str(tmp_path / each)).layer("model.layers.0.mlp.down_proj") for each in found)
    assert np.array_equal(before.integers, after.integers) and not np.array_equal(before.scales, after.scales)
    assert np.array_equal(after.scales, after.scales.astype(np.float16).astype(np.float32))


def test_without_an_order_errors_are_those_of_the_integers(models, tokens, tmp_path):
    """What is reported of a block, and what comes behind it, is made with all of its integers."""
    changes = {"sequential": False, "heldBack": 0, "ridges": [], "refit": False, "sweeps": 0, "rounding": "nearest"}
    done = run(models, tokens, tmp_path, **changes)
    given = {"model": models("llama"), "trustRemoteCode": False, "quantized": str(tmp_path), "text": text_of(tokens)}
    given.update(activations=False, prompts=[], newTokens=1, batch=2, threads=1)
    again = evaluate(given, Events())["quantized"]["blocks"]
    assert [each["error"] for each in done["blocks"]] == pytest.approx(again, rel=1e-3)


def test_a_killed_run_goes_on_to_the_same_result(models, tokens, tmp_path):
    whole = run(models, tokens, tmp_path / "whole", rotate="always")
    params = params_of(models("llama"), tmp_path / "killed", tokens, resume=True, rotate="always")
    code = (
        "import json, os, signal, sys\n"
        "from dopt.events import Events\n"
        "from dopt.llm import quantize\n"
        "class Killer(Events):\n"
        "    def _send(self, event):\n"
        "        if event['type'] == 'progress' and event['done'] == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "quantize.quantize(json.loads(sys.argv[1]), Killer())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", code, json.dumps(params)], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    resumed = quantize(params, Events())
    assert resumed["resumedAt"] == 2 and resumed["digest"] == whole["digest"]
    assert all(each["rotated"] for each in resumed["blocks"])
    assert [each["block"] for each in resumed["blocks"]] == [0, 1, 2]
    assert sorted(each["name"] for each in resumed["linears"]) == sorted(each["name"] for each in whole["linears"])


def test_what_is_written_is_what_was_solved(models, tokens, tmp_path):
    run(models, tokens, tmp_path / "out", kind="gpt2")
    reader = Reader(str(tmp_path / "out"))
    names = {each.name for each in reader.linears()}
    assert names == {each["name"] for each in describe(open_model(models("gpt2")))["linears"]}
    layer = reader.layer("transformer.h.1.attn.c_attn")
    assert layer.integers.shape == (192, 64) and layer.integers.min() >= -8 and layer.integers.max() <= 7
    assert reader.config["tie_word_embeddings"] is False
    # Half-precision formats hold the scales as they are.
    assert np.array_equal(layer.scales, np.asarray(layer.scales).astype(np.float16).astype(np.float32))


def test_bad_input_is_named(models, tokens, tmp_path):
    def code_of(change):
        with pytest.raises(DoptError) as caught:
            change()
        return caught.value.code

    def weights(change):
        folder = damage(models("llama"), str(tmp_path / change.__name__), change)
        return code_of(lambda: quantize(params_of(folder, tmp_path / "bad", tokens), Events()))

    def nan(tensors):
        tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = np.nan

    def shape(tensors):
        tensors["model.layers.1.mlp.up_proj.weight"] = tensors["model.layers.1.mlp.up_proj.weight"][:-1]

    assert weights(nan) == "LLM_WEIGHT_NOT_FINITE"
    assert weights(shape) == "LLM_WEIGHT_SHAPE"
    assert code_of(lambda: open_model(str(tmp_path))) == "LLM_FOLDER"
    (tmp_path / "config.json").write_text('{"model_type": "unheard-of"}')
    assert code_of(lambda: open_model(str(tmp_path))) == "LLM_ARCHITECTURE"
    good = params_of(models("llama"), tmp_path / "bad", tokens)
    assert code_of(lambda: quantize(params_of(models("llama"), tmp_path / "bad", tokens, group=48), Events())) == "LLM_GROUP_SIZE"
    short = {**good, "calibration": text_of(tokens, length=9999)}
    assert code_of(lambda: quantize(short, Events())) == "LLM_TEXT_SHORT"
    (tmp_path / "text.txt").write_text("words")
    assert code_of(lambda: quantize({**good, "calibration": text_of(str(tmp_path / "text.txt"))}, Events())) == "LLM_TOKENIZER"


def test_experts_without_tokens_and_singular_sums(models, tokens, tmp_path):
    def biased(tensors):
        for name, array in tensors.items():
            if name.endswith("block_sparse_moe.gate.weight"):
                array[3] = 0
                array[:3] *= 50
        tensors["model.layers.0.self_attn.q_proj.weight"][:] = 0

    folder = damage(models("mixtral"), str(tmp_path / "model"), biased)
    few = {**text_of(tokens, samples=2, length=8)}
    result = quantize({**params_of(folder, tmp_path / "out", tokens), "calibration": few, "batch": 1}, Events())
    json.dumps(result, allow_nan=False)
    assert any(each["fallback"] for each in result["linears"] if ".experts." in each["name"]) or all(
        each["tokens"] > 0 for each in result["linears"]
    )
    assert all(np.isfinite(each["error"]) for each in result["linears"])
    assert result["warnings"]
