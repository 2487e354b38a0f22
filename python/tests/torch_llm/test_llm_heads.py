"""Rows of heads rounded together: what attention tells of their errors, and what that is worth."""

import numpy as np
import pytest
import torch
from conftest import damage, make, params_of

from dopt.events import Events
from dopt.llm.attention import can_fuse, fused
from dopt.llm.fisher import information
from dopt.llm.heads import Heads, heads_of
from dopt.llm.linear import is_streamed, outputs_told
from dopt.llm.load import open_model
from dopt.llm.quantize import quantize
from dopt.llm.restore import open_quantized
from dopt.llm.stream import Stream
from dopt.llm.taps import tapped

KINDS = ["llama", "qwen2", "gemma", "gpt2", "mixtral", "gpt_oss"]


def opened(folder, samples=40, length=24):
    """A stream with its first block loaded, and float states before it."""
    stream = Stream(open_model(folder))
    ids = torch.randint(3, 96, (samples, length), generator=torch.Generator().manual_seed(1))
    stream.begin(ids[:1])
    hidden = stream.begin(ids)
    stream.load(0)
    return stream, hidden


def distribution(stream, hidden, change=None):
    """Attention's weights of block 0 and what is left of one, [batch, heads, length, length + 1] float64, with ``change(name, out)`` of its linears' outputs."""
    seen, block = [], stream.block(0)
    tell = change or (lambda _name, out: out)
    taps = tapped(block, stream.prefix(0), lambda name, x: seen.append(x) or x if name.endswith("probabilities") else x)
    with torch.no_grad(), outputs_told(block, tell), taps:
        stream.run(0, hidden)
    weights = seen[0].double()
    return torch.cat([weights, (1 - weights.sum(dim=-1, keepdim=True)).clamp_min(0)], dim=-1)  # what a sink takes


@pytest.mark.parametrize("kind", KINDS)
def test_information_is_the_divergence_that_errors_of_outputs_cause(models, kind):
    stream, hidden = opened(models(kind))
    found = information(stream, 0, [None, hidden], seed=0)
    names = sorted(each.rpartition(".")[2] for each in found)
    assert names == (["c_attn"] if kind == "gpt2" else ["k_proj", "q_proj"])
    plain = distribution(stream, hidden)
    random = torch.Generator().manual_seed(2)
    for name, form in found.items():
        heads, width = form.shape[:2]
        for _ in range(3):
            step = 1e-2 * torch.randn(heads, width, generator=random)
            # Signs that differ from token to token: errors of two keys that a query sees do not make up for each other.
            signs = torch.randint(0, 2, (*hidden.shape[:2], heads, 1), generator=random) * 2 - 1
            error = (signs * step).flatten(start_dim=2)
            moved = distribution(stream, hidden, lambda each, out, name=name, error=error: out + error if each == name else out)
            exact = float((plain * (plain.clamp_min(1e-30) / moved.clamp_min(1e-30)).log()).sum())
            d = step.double()[:, None]
            told = float((d @ form @ d.transpose(1, 2)).sum()) / 2
            assert told == pytest.approx(exact, rel=0.3), name


def test_values_and_linears_behind_attention_are_not_told_of(models):
    stream, hidden = opened(models("gpt2"))
    (form,) = information(stream, 0, [hidden], seed=0).values()
    size = form.diagonal(dim1=1, dim2=2).sum(dim=1)
    assert form.shape == (12, 16, 16)
    assert bool((size[:8] > 0).all()) and bool((size[8:] == 0).all())


def test_the_same_seed_gives_the_same_and_another_nearly(models):
    stream, hidden = opened(models("llama"))
    first, again, other = (information(stream, 0, [hidden], seed) for seed in (3, 3, 4))
    for name, form in first.items():
        assert torch.equal(form, again[name]) and not torch.equal(form, other[name])
        assert float((form - other[name]).norm() / form.norm()) < 0.3


def test_squares_of_weighed_errors_sum_to_the_form_and_unknown_heads_count_alone():
    random = torch.Generator().manual_seed(0)
    half = torch.randn(3, 40, 6, generator=random, dtype=torch.float64)
    form = half.transpose(1, 2) @ half
    form[1] = 0
    heads = Heads(form)
    errors = torch.randn(50, 18, generator=random)
    part = errors[:, 6:18].double()
    wanted = (part[:, :6] ** 2).sum() * 1.1 + ((part[:, 6:] @ _damped(form, 2)) * part[:, 6:]).sum()
    assert float((heads.weighed(errors[:, 6:18], slice(6, 18)) ** 2).sum()) == pytest.approx(float(wanted), rel=1e-5)
    assert sorted(heads.order.tolist()) == list(range(18)) and set(heads.order[6:12].tolist()) == set(range(6, 12))


def _damped(form, head):
    scale = form.diagonal(dim1=1, dim2=2).mean(dim=1)[[0, 2]].mean()
    own = form[head] / scale
    return own + 0.1 * own.diagonal().mean() * torch.eye(len(own), dtype=torch.float64)


@pytest.mark.parametrize("form", [None, torch.zeros(2, 4, 4), torch.full((2, 4, 4), float("nan"))])
def test_rows_stay_alone_where_nothing_is_known(form):
    assert heads_of(form) is None


@pytest.mark.parametrize("group", [32, 0])
def test_attention_moves_less_than_with_rows_rounded_alone(models, tokens, tmp_path, group):
    def spread(tensors):  # few directions of a head decide, as in models that have learned
        turn = np.linalg.qr(np.random.RandomState(0).randn(16, 16))[0]
        mix = (turn * np.geomspace(0.02, 4, 16)) @ turn.T
        for name in list(tensors):
            if name.endswith("k_proj.weight"):
                tensors[name] = (mix @ tensors[name].reshape(-1, 16, 64)).reshape(-1, 64).astype(np.float32)

    folder = damage(models("llama"), tmp_path / "spread", spread)
    stream, hidden = opened(folder)
    plain = distribution(stream, hidden)
    moved = []
    for heads in (True, False):
        out = tmp_path / str(heads)
        quantize(params_of(folder, out, tokens, group, heads=heads, ridges=[]), Events())
        restored = open_quantized(str(out))
        restored.fill(restored.network, "")
        own = restored.network.model.layers[0].self_attn
        weights = {f"model.layers.0.self_attn.{each}": getattr(own, each).weight.detach() for each in ("q_proj", "k_proj")}
        given = {}
        modules = [each for each in stream.block(0).modules() if is_streamed(each)]
        handles = [each.register_forward_pre_hook(lambda module, x: given.update({module.held.linear.name: x[0]})) for each in modules]
        after = distribution(stream, hidden, lambda name, out: given[name] @ weights[name].t() if name in weights else out)
        for handle in handles:
            handle.remove()
        moved.append(float((plain * (plain.clamp_min(1e-30) / after.clamp_min(1e-30)).log()).sum()))
    assert moved[0] < 0.9 * moved[1]


@pytest.mark.parametrize("kind", KINDS)
def test_attention_in_one_kernel_gives_the_same(models, kind):
    stream, hidden = opened(models(kind))
    block = stream.block(0)
    if not can_fuse(stream.source.network, block):
        pytest.skip("transformers of this version lets no attention be replaced")
    with torch.no_grad():
        plain = stream.run(0, hidden)
        calls = []
        with fused(block, lambda: calls.append(1) is None):
            found = stream.run(0, hidden)
        with fused(block, lambda: False):
            assert torch.equal(stream.run(0, hidden), plain)
        assert torch.equal(stream.run(0, hidden), plain)
    assert len(calls) == 1
    assert float((found - plain).norm() / (plain - hidden).norm()) < 1e-5


def test_a_mask_that_hides_more_than_what_comes_is_heeded(tmp_path):
    folder = make("llama", tmp_path / "mistral")
    stream, hidden = opened(folder)
    block = stream.block(0)
    if not can_fuse(stream.source.network, block):
        pytest.skip("transformers of this version lets no attention be replaced")
    call = stream._calls[tuple(hidden.shape[:2])][0]
    mask = torch.full((1, 1, 24, 24), torch.finfo(torch.float32).min).triu(1)
    mask[:, :, 5:, 0] = torch.finfo(torch.float32).min  # a window
    call.kwargs["attention_mask"] = mask
    with torch.no_grad():
        plain = stream.run(0, hidden)
        with fused(block, lambda: True):
            found = stream.run(0, hidden)
    assert float((found - plain).norm() / (plain - hidden).norm()) < 1e-5
