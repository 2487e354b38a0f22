"""The original's functions for transformers inside of a program, dopt.dopt_lm.do_opt, and its mistakes."""

import json

import numpy as np
import pytest
import torch
from conftest import VOCABULARY, make

import dopt.dopt_lm.do_opt as dopt
from dopt.dopt_lm.layers import QuantEmbedding, QuantLinear
from dopt.errors import DoptError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("llama")
    make("llama", str(path))
    return str(path)


@pytest.fixture
def model(folder):
    import transformers

    return transformers.AutoModelForCausalLM.from_pretrained(folder).float().eval()


def ids(seed=0):
    return torch.randint(0, VOCABULARY, (2, 24), generator=torch.Generator().manual_seed(seed))


def logits(model, seed=0):
    with torch.no_grad():
        return model(ids(seed)).logits


def settings(tmp_path, model, change=None):
    path = tmp_path / "dopt_config.json"
    dopt.generate_config_file(model, str(path))
    entries = json.loads(path.read_text())
    if change:
        change(entries)
        path.write_text(json.dumps(entries))
    return str(path), entries


def calibrate(model):
    dopt.set_quant_state(model, True, True)
    dopt.set_calibrate_state(model, True)
    for seed in range(1, 4):
        logits(model, seed)
    dopt.set_calibrate_state(model, False)


def refused(code, function, *arguments, **named):
    with pytest.raises(DoptError) as caught:
        function(*arguments, **named)
    assert caught.value.code == code, caught.value.message
    return caught.value


def test_ptq_as_in_the_original(tmp_path, folder, model):
    import transformers

    float_logits = logits(model)
    path, entries = settings(tmp_path, model)
    assert entries["model.layers.0.self_attn.q_proj"]["quant_strategy"] == "Quant_act_weight_eco"
    assert entries["lm_head"]["quant_strategy"] == "Quant_lm_head"
    assert entries["model.embed_tokens"]["quant_strategy"] == "Quant_Embed_MinMax"
    dopt.optimize_model(model, path)
    dopt.set_quant_state(model, False, False)
    torch.testing.assert_close(logits(model), float_logits)
    calibrate(model)
    quantized = logits(model)
    noise = (quantized - float_logits).square().mean() / float_logits.square().mean()
    assert 0 < noise < 0.2
    state = tmp_path / "quantized.pth"
    torch.save(model.state_dict(), str(state))
    again = transformers.AutoModelForCausalLM.from_pretrained(folder).float().eval()
    dopt.optimize_model(again, path)
    again.load_state_dict(torch.load(str(state)), strict=True)
    dopt.set_quant_state(again, True, True)
    dopt.set_calibrate_state(again, False)
    torch.testing.assert_close(logits(again), quantized, rtol=0, atol=0)

    out = tmp_path / "out"
    for indices in (False, True):
        written = dopt.generate_quant_params(again, str(out), indices, True, 128)
        assert sorted(each.rsplit("/", 1)[1] for each in written) == [
            "embedding_scale.bin",
            "embedding_weight.bin",
            "fake_quant_weight.pth",
            "quant_params.json",
        ]
        weights = torch.load(str(out / "fake_quant_weight.pth"))
        layer = dict(again.named_modules())["model.layers.1.mlp.up_proj"]
        scales = layer.weight_scale.detach().repeat_interleave(layer.in_features // layer.weight_scale.shape[1], 1)
        found = weights["model.layers.1.mlp.up_proj.weight"]
        integers = found - 8 if indices else (found / scales).round()
        assert integers.min() >= -8 and integers.max() <= 7 and (integers < 0).float().mean() > 0.4
        torch.testing.assert_close(integers * scales, layer.weight, rtol=0, atol=float(scales.max()) * 2)
        assert weights["lm_head.weight"].shape[0] == 128
    params = json.loads((out / "quant_params.json").read_text())["tensors"]
    grid = next(each for each in params if each["name"] == "model.layers.1.mlp.up_proj:input")
    assert grid["scale"][0] == pytest.approx(float(layer.input_scale)) and grid["bits"] == 16


def test_training_moves_scales_and_lowers_the_error(tmp_path, model):
    target = logits(model, 7)
    path, _ = settings(tmp_path, model)
    dopt.optimize_model(model, path)
    calibrate(model)
    model.train()
    scales = [p for name, p in model.named_parameters() if name.endswith("weight_scale")]
    assert len(scales) == 3 * 7 + 1
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for scale in scales:
        scale.requires_grad_(True)
    optimizer = torch.optim.Adam(scales, lr=2e-4)
    errors = []
    for _ in range(15):
        error = (model(ids(7)).logits - target).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(float(error.detach()))
    assert errors[-1] < 0.8 * errors[0]


@pytest.mark.parametrize("method", [None, "kaiming", "gaussian", "pissa"])
def test_adapters_train_on_a_frozen_base(tmp_path, model, method):
    def adapt(entries):
        for name, entry in entries.items():
            if name.endswith("q_proj"):
                entry["lora_config"] = {"rank": 4, "alpha": 8}

    path, _ = settings(tmp_path, model, adapt)
    dopt.optimize_model(model, path)
    calibrate(model)
    dopt.set_quant_state(model, False, False)
    before = logits(model)
    dopt.set_trainable_lora(model, method)
    torch.testing.assert_close(logits(model), before, rtol=1e-3, atol=1e-4)
    dopt.set_quant_state(model, True, True)
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(trainable) == 6 and all(name.endswith(("q_proj.lora_A", "q_proj.lora_B")) for name in trainable)
    model(ids()).logits.square().mean().backward()
    layer = dict(model.named_modules())["model.layers.0.self_attn.q_proj"]
    assert layer.weight.grad is None and layer.lora_B.grad is not None
    assert bool(layer.lora_B.grad.any()) == (method is not None)


def test_a_checkpoint_of_stage2_loads_into_an_optimized_model(tmp_path, folder, model):
    from dopt.events import Events
    from dopt.llm.artifact import Reader
    from dopt.llm.export import export

    path, _ = settings(tmp_path, model)
    dopt.optimize_model(model, path)
    calibrate(model)
    wanted = logits(model)
    from dopt.dopt_lm.parameters import _write_artifact

    _write_artifact(model, [each for each in model.modules() if isinstance(each, (QuantLinear, QuantEmbedding))], str(tmp_path / "a"))
    params = {"artifact": str(tmp_path / "a"), "format": "original", "out": str(tmp_path / "o"), "options": {"stages": [2]}}
    export(params, Events())
    assert Reader(str(tmp_path / "a")).activations
    import transformers

    again = transformers.AutoModelForCausalLM.from_pretrained(folder).float().eval()
    dopt.optimize_model(again, path)
    again.load_state_dict(torch.load(str(tmp_path / "o" / "trained.pth")), strict=True)
    torch.testing.assert_close(logits(again), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "entry, code",
    [
        ({"weight": {"bit": 8, "group_size": 64}}, "LLM_GROUP_OF_8_BITS"),
        ({"weight": {"bit": 4, "group_size": 256}}, "LLM_GROUP_SIZE"),
        ({"weight": {"bit": 5}}, "DOPT_CONFIG_INVALID"),
        ({"quant_strategy": "Quant_act_weigth_eco"}, "DOPT_CONFIG_INVALID"),
        ({"wieght": {"bit": 4}}, "DOPT_CONFIG_INVALID"),
    ],
)
def test_wrong_settings_are_named(tmp_path, model, entry, code):
    path = tmp_path / "dopt_config.json"
    path.write_text(json.dumps({"model.layers.0.self_attn.q_proj": entry}))
    refused(code, dopt.optimize_model, model, str(path))


def test_mistakes_in_the_order_of_calls(tmp_path, model):
    refused("LLM_NOT_QUANTIZED", dopt.generate_quant_params, model, str(tmp_path / "out"))
    refused("LLM_LORA", dopt.set_trainable_lora, model)
    path = tmp_path / "dopt_config.json"
    path.write_text(json.dumps({"model.layers.9.*": {}}))
    refused("LLM_LAYER_UNKNOWN", dopt.optimize_model, model, str(path))
    path.write_text(json.dumps({"*.q_proj": {"weight": {"group_size": 32}}}))
    dopt.optimize_model(model, str(path))
    assert sum(isinstance(each, QuantLinear) for each in model.modules()) == 3
    refused("LLM_NOT_CALIBRATED", logits, model)
    refused("LLM_NOT_CALIBRATED", dopt.generate_quant_params, model, str(tmp_path / "out"))
    dopt.set_quant_state(model, True, False)
    assert np.isfinite(logits(model).numpy()).all()
    dopt.generate_quant_params(model, str(tmp_path / "out"))
