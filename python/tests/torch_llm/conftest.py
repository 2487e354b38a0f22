"""Tiny language models of several kinds, random but fixed, as Hugging Face folders."""

import json
import os

import numpy as np
import pytest

VOCABULARY = 96


def make(kind, folder, **changes):
    """Writes a model of three blocks into ``folder``."""
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    torch.manual_seed(0)
    common = dict(vocab_size=VOCABULARY, bos_token_id=1, eos_token_id=2)
    decoder = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2)
    config = {
        "llama": lambda: transformers.LlamaConfig(**{**common, **decoder, **changes}),
        "qwen2": lambda: transformers.Qwen2Config(**{**common, **decoder, "tie_word_embeddings": True, **changes}),
        "gemma": lambda: transformers.GemmaConfig(**{**common, **decoder, "head_dim": 16, "hidden_activation": "gelu", **changes}),
        "gpt2": lambda: transformers.GPT2Config(**{**common, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 64, **changes}),
        # Square experts: their shape does not tell how they are stored.
        "gpt_oss": lambda: transformers.GptOssConfig(
            **{**common, **decoder, "head_dim": 16, "intermediate_size": 64, "num_local_experts": 4, "pad_token_id": 0, **changes}
        ),
        "mixtral": lambda: transformers.MixtralConfig(**{**common, **decoder, "num_local_experts": 4, **changes}),
    }[kind]()
    model = transformers.AutoModelForCausalLM.from_config(config)
    # Random weights of the usual size make every logit equal: larger ones make errors visible.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2 and "embed" not in name:
                parameter.mul_(6.0)
    model.save_pretrained(str(folder))
    return str(folder)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """models(kind) -> folder."""
    made = {}

    def of(kind):
        if kind == "gpt_oss":
            pytest.importorskip("transformers.models.gpt_oss", reason="transformers of this version does not know GPT-OSS")
        if kind not in made:
            made[kind] = make(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return of


@pytest.fixture(scope="session")
def tokens(tmp_path_factory):
    """A file of token numbers with some structure."""
    random = np.random.RandomState(0)
    path = tmp_path_factory.mktemp("tokens") / "ids.npy"
    np.save(str(path), (np.cumsum(random.randint(0, 7, 4000)) % (VOCABULARY - 3)) + 3)
    return str(path)


def text_of(tokens, samples=16, length=32):
    return {"files": [tokens], "samples": samples, "length": length, "chat": False, "bos": True}


def params_of(model, out, tokens, group=32, **changes):
    """Parameters of ``llmQuantize`` for all linears of a model; ``changes`` of the solver or of the rest."""
    from dopt.llm.inspect import describe
    from dopt.llm.load import open_model

    solver = {
        "scales": "weighted",
        "rounding": "gptq",
        "actOrder": True,
        "damping": 0.01,
        "dampingMost": 0.1,
        "ridges": [1.0],
        "crossEvery": 4,
        "heads": True,
        "refit": True,
        "sweeps": 1,
        "polish": 0,
        "heldBack": 4,
        "sequential": True,
        "rotate": "never",
    }
    solver.update({key: changes.pop(key) for key in list(changes) if key in solver})
    linears = [
        {"name": each["name"], "bits": 8 if each["head"] else 4, "groupSize": 0 if each["head"] else group, "fullRange": True, "strategy": "test"}
        for each in describe(open_model(model))["linears"]
    ]
    rest = {"embeddingBits": 8, "activations": None, "batch": 2, "threads": 1, "lockstep": True, "resume": False, "seed": 0}
    given = {"model": model, "trustRemoteCode": False, "out": str(out), "calibration": text_of(tokens), "linears": linears}
    return {**given, "solver": solver, **rest, **changes}


def damage(folder, target, change):
    """A copy of a model whose weights ``change(tensors)`` edits."""
    from dopt import safetensors
    from safetensors.numpy import save_file

    os.makedirs(target, exist_ok=True)
    tensors = {name: np.array(array) for name, array in safetensors.read(os.path.join(folder, "model.safetensors")).items()}
    change(tensors)
    save_file(tensors, os.path.join(target, "model.safetensors"), metadata={"format": "pt"})
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    with open(os.path.join(target, "config.json"), "w") as file:
        json.dump(config, file)
    return str(target)


@pytest.fixture(scope="module", params=[32, 0], ids=["groups", "channels"])
def artifact(request, tmp_path_factory):
    """What ``tiny_artifact`` writes, opened."""
    from tiny_artifact import write_tiny

    from dopt.llm.artifact import Reader

    folder = tmp_path_factory.mktemp("llm")
    return Reader(write_tiny(folder / "artifact", folder / "model", group_size=request.param))


@pytest.fixture
def run(tmp_path, artifact):
    """run(format) -> folder, result: an export of ``artifact``."""
    from dopt.events import Events
    from dopt.llm.export import export

    def call(format, **options):
        out = tmp_path / "out"
        result = export(
            {"artifact": artifact.folder, "format": format, "out": str(out), "options": options}, Events()
        )
        json.dumps(result, allow_nan=False)
        return out, result

    return call
