"""Language models on a GPU, or on the device that stands in for one: the numbers are those of the processor."""

import numpy as np
import pytest
import torch
from conftest import VOCABULARY, make, params_of, text_of
from test_llm_rotate import distil_params
from test_rows import LIBRARY, Problem

from dopt import gpu as gpus
from dopt import native
from dopt.errors import DoptError
from dopt.events import Events
from dopt.llm.artifact import Reader
from dopt.llm.distil import distil
from dopt.llm.evaluate import evaluate
from dopt.llm.generate import greedy
from dopt.llm.load import open_model
from dopt.llm.quantize import quantize
from dopt.llm.ranges import ranges
from dopt.llm.rows import DeviceRows, HostRows

#: Sizes of models whose single operations are few: each costs a tenth of a millisecond on the device that stands in.
_DECODER = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_key_value_heads": 1}
SIZES = {
    "llama": {**_DECODER, "num_hidden_layers": 2},
    "qwen2": {**_DECODER, "num_hidden_layers": 1},
    "gpt2": {"n_embd": 32, "n_layer": 1, "n_head": 2},
    "mixtral": {**_DECODER, "num_hidden_layers": 1, "num_local_experts": 2},
}
ACTIVATIONS = {"bits": 16, "kvBits": 8, "symmetric": True, "warnBelow": 10.0}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """small(kind) -> folder of a model of ``SIZES``."""
    made = {}

    def of(kind):
        if kind not in made:
            made[kind] = make(kind, tmp_path_factory.mktemp(kind), **SIZES[kind])
        return made[kind]

    return of


def params(model, out, tokens, **changes):
    """Parameters of ``llmQuantize`` with few samples and one candidate for scales."""
    usual = {"scales": "absmax", "calibration": text_of(tokens, samples=8, length=16)}
    return params_of(model, out, tokens, group=16, **{**usual, **changes})


@pytest.mark.parametrize("seed", range(2))
def test_integers_and_scales_are_those_of_the_core(gpu, seed):
    compare_rows(seed, gpus.torch_device(gpu))


@pytest.mark.parametrize("seed", range(12))
def test_what_runs_on_a_device_computes_the_same_on_the_processor(seed):
    compare_rows(seed, torch.device("cpu"))


def compare_rows(seed, device):
    """What ``DeviceRows`` makes of a problem on a device, beside the native core."""
    problem = Problem(seed)
    inputs = problem.inputs - problem.inputs % problem.grid.group
    assert inputs > 0
    damped = problem.damped[:inputs, :inputs]
    order = np.argsort(np.diag(damped), kind="stable")
    given = {
        "weights": problem.weights[:, :inputs],
        "target": problem.target[:, :inputs],
        "gram": problem.gram[:inputs, :inputs],
        "importance": np.diag(damped),
        "order": order,
        "factor": np.linalg.cholesky(damped[np.ix_(order, order)]),
        "run_factors": problem.run_factors(),
    }
    host = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in given.items()}
    rows = HostRows(native.NativeCore(LIBRARY))
    wanted = _solved(rows, problem.grid, host)
    found = _solved(DeviceRows(rows), problem.grid, {name: tensor.to(device) for name, tensor in host.items()})
    for name, tensor in found.items():
        assert tensor.device == device and tensor.dtype == wanted[name].dtype, name
        differ = int((tensor.cpu() != wanted[name]).sum())
        assert differ <= tensor.numel() // 1000, f"{name}: {differ} of {tensor.numel()}"


def _solved(rows, grid, given):
    scales = rows.group_scales(given["weights"], grid, given["importance"], 64, 0.35)
    integers = rows.gram_round(given["order"], given["factor"], given["target"], grid, scales)
    found = {"scales": scales, "integers": integers, "nearest": rows.group_nearest(given["target"], grid, scales)}
    found["together"] = rows.gram_round(given["order"], given["factor"], given["target"], grid, scales, given["run_factors"])
    refined = (scales.clone(), integers.clone())
    rows.gram_refine(given["gram"], given["target"], grid, *refined, True, 1)
    return {**found, "refined scales": refined[0], "refined integers": refined[1]}


@pytest.mark.parametrize(
    "kind, changes",
    [
        ("qwen2", {"rotate": "always", "polish": 1, "activations": ACTIVATIONS, "rounding": "nearest"}),
        ("gpt2", {"lockstep": False}),
        ("mixtral", {"refit": False, "sweeps": 0}),
    ],
)
def test_a_model_is_quantized_on_the_device_as_on_the_processor(small, tokens, tmp_path, gpu, kind, changes):
    plain = quantize(params(small(kind), tmp_path / "host", tokens, **changes), Events())
    found = quantize(params(small(kind), tmp_path / "device", tokens, gpu=gpu, **changes), Events())
    host, device = Reader(str(tmp_path / "host")), Reader(str(tmp_path / "device"))
    for entry in host.index["linears"]:
        one, other = host.layer(entry["name"]), device.layer(entry["name"])
        assert (one.integers != other.integers).mean() < 0.01, entry["name"]
    assert found["blocks"][-1]["error"] == pytest.approx(plain["blocks"][-1]["error"], rel=0.02)
    grids = {each["name"]: each["scale"] for each in plain["activations"]}
    assert {each["name"] for each in found["activations"]} == set(grids)
    for each in found["activations"]:
        assert each["scale"] == pytest.approx(grids[each["name"]], rel=0.01)


def test_scoring_ranges_distillation_and_texts_run_on_the_device(small, tokens, tmp_path, gpu):
    model, quantized = small("qwen2"), str(tmp_path / "q")
    quantize(params(model, quantized, tokens, rounding="nearest", ridges=[], gpu=gpu), Events())
    shared = {"model": model, "trustRemoteCode": False, "quantized": quantized, "batch": 2, "threads": 1}
    text = text_of(tokens, samples=8)
    on = [
        ranges({**shared, "calibration": text, "activations": ACTIVATIONS, "gpu": each}, Events())["activations"]
        for each in (None, gpu)
    ]
    assert [each["scale"] for each in on[1]] == pytest.approx([each["scale"] for each in on[0]], rel=1e-4)
    scored = [
        evaluate({**shared, "text": text, "activations": True, "prompts": [], "newTokens": 1, "gpu": each}, Events())["quantized"]
        for each in (None, gpu)
    ]
    assert scored[1]["kl"] == pytest.approx(scored[0]["kl"], rel=0.01)
    trained = [
        distil(distil_params(model, quantized, tmp_path / f"d{each}", tokens, epochs=1, gpu=each), Events()) for each in (None, gpu)
    ]
    assert trained[1]["losses"] == pytest.approx(trained[0]["losses"], rel=1e-3)
    assert trained[1]["after"] < trained[1]["before"]
    source = open_model(model, device=gpus.torch_device(gpu))
    source.fill(source.network, "")
    assert len(greedy(source.network, Letters(), "abc", 5, source.device)) == 5


class Letters:
    """A tokenizer of one character a token."""

    bos_token_id, eos_token_id = 1, None

    def __call__(self, text, add_special_tokens):
        return {"input_ids": [ord(each) % VOCABULARY for each in text]}

    def decode(self, tokens):
        return "".join(chr(33 + each) for each in tokens)


def test_an_interrupted_run_goes_on_from_states_of_the_device(small, tokens, tmp_path, gpu):
    whole = quantize(params(small("llama"), tmp_path / "whole", tokens, gpu=gpu, rounding="nearest"), Events())

    class Ended(Exception):
        pass

    class Ender(Events):
        def _send(self, event):
            if "block 1 of" in event.get("message", ""):
                raise Ended()

    given = params(small("llama"), tmp_path / "q", tokens, gpu=gpu, resume=True, rounding="nearest")
    with pytest.raises(Ended):
        quantize(given, Ender())
    resumed = quantize(given, Events())
    assert resumed["resumedAt"] == 1 and resumed["digest"] == whole["digest"]


def test_a_gpu_that_is_not_there_is_refused_with_a_reason(small, tokens, tmp_path):
    with pytest.raises(DoptError) as caught:
        quantize(params(small("llama"), tmp_path / "q", tokens, gpu=99), Events())
    assert (caught.value.code, caught.value.kind) == ("GPU_UNAVAILABLE", "environment")
    assert "GPU 99 cannot be used: " in str(caught.value) and not (tmp_path / "q").exists()


def test_memory_of_a_gpu_that_is_full_is_an_error_of_its_own():
    with pytest.raises(DoptError) as caught, gpus.memory_explained(torch.device("cuda", 0), ["less"]):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore")
    assert caught.value.code == "GPU_MEMORY" and caught.value.suggestions == ["less"]
    with pytest.raises(RuntimeError, match="other"), gpus.memory_explained(torch.device("cuda", 0), []):
        raise RuntimeError("other")


@pytest.mark.parametrize(
    "capability, architectures, runs",
    [
        ((9, 0), ["sm_80", "sm_90"], True),
        ((8, 9), ["sm_80", "sm_90"], True),
        ((8, 0), ["sm_86", "sm_90"], False),
        ((9, 0), ["sm_37", "sm_70", "compute_70"], True),
        ((9, 0), ["sm_37", "sm_70"], False),
        ((12, 0), ["sm_90a", "sm_120"], True),
    ],
)
def test_machine_code_runs_on_its_own_generation(capability, architectures, runs):
    assert gpus.has_code(capability, architectures) is runs
