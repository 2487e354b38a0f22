"""Which linears add to the residual stream, and what it is where they do."""

import pytest
import torch
import transformers

from dopt.llm.block import Work
from dopt.llm.linear import FLOAT, Seen
from dopt.llm.load import open_model
from dopt.llm.stream import Stream

IDS = torch.arange(40).reshape(2, 20) % 90


def block_of(folder):
    """The first block of a model, filled, with hidden states for it."""
    source = open_model(folder)
    stream = Stream(source)
    options = {"solver": {"sequential": True}, "orders": {}, "ranges": None}
    names = [name for name, each in stream.block(0).named_modules() if type(each).__name__ in ("Linear", "Conv1D")]
    options["strategies"] = {f"{stream.prefix(0)}.{name}": {} for name in names}
    work = Work(stream, 0, options)
    work.load()
    return work, stream.begin(IDS)


def writers_of(work, hidden):
    with work.running():
        work.steps(hidden)
    return {name[len(work.prefix) + 1 :] for name in work.writers}


WRITERS = {
    "llama": {"self_attn.o_proj", "mlp.down_proj"},
    "qwen2": {"self_attn.o_proj", "mlp.down_proj"},
    "gemma": {"self_attn.o_proj", "mlp.down_proj"},
    "gpt2": {"attn.c_proj", "mlp.c_proj"},
    "mixtral": {"self_attn.o_proj"},  # what experts give is weighted and summed first
}


@pytest.mark.parametrize("kind", list(WRITERS))
def test_linears_that_add_to_the_stream_are_found(models, kind):
    assert writers_of(*block_of(models(kind))) == WRITERS[kind]


def test_a_norm_a_factor_or_a_sum_of_three_leaves_linears_out(tmp_path):
    common = dict(vocab_size=96, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96)
    configs = {
        "parallel": transformers.GPTNeoXConfig(**common, use_parallel_residual=True),
        "sequential": transformers.GPTNeoXConfig(**common, use_parallel_residual=False),
        "opt": transformers.OPTConfig(**common, ffn_dim=96, word_embed_proj_dim=64),
    }
    if hasattr(transformers, "Gemma2Config") and torch.__version__ >= "2":  # its masks need a newer torch than 1.11
        configs["normed"] = transformers.Gemma2Config(**common, head_dim=16, num_key_value_heads=2, hidden_activation="gelu")
    if hasattr(transformers, "GraniteConfig"):
        configs["scaled"] = transformers.GraniteConfig(**common, num_key_value_heads=2, residual_multiplier=0.25)
    found = {}
    for name, config in configs.items():
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(str(tmp_path / name))
        found[name] = writers_of(*block_of(str(tmp_path / name)))
    for name in ("parallel", "normed", "scaled"):
        assert found.get(name, set()) == set()
    assert found["sequential"] == {"attention.dense", "mlp.dense_4h_to_h"}
    assert found["opt"] == {"self_attn.out_proj", "fc2"}


def test_the_stream_at_a_linear_is_what_its_output_is_added_to(models):
    work, hidden = block_of(models("llama"))
    prefix = work.prefix
    seen = Seen(stop=False)
    with work.running():
        out = work.forward(hidden, FLOAT, seen)
    first, down = (f"{prefix}.{name}" for name in ("self_attn.o_proj", "mlp.down_proj"))
    assert torch.equal(seen.residuals[first], hidden.flatten(0, 1))
    added = seen.inputs[down] @ work.weights[down].float().t()
    assert torch.allclose(seen.residuals[down] + added, out.flatten(0, 1), rtol=1e-4, atol=1e-5)
