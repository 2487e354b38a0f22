"""Static integer activations: where they are observed, what their grids are, and the model that uses them."""

import pytest
import torch
from conftest import params_of, text_of

from dopt.errors import DoptError
from dopt.events import Events
from dopt.llm.artifact import Reader
from dopt.llm.evaluate import evaluate
from dopt.llm.quantize import quantize
from dopt.llm.ranges import ranges
from dopt.llm.simulate import Grids

OPTIONS = {"bits": 16, "kvBits": 16, "symmetric": True, "warnBelow": 35.0}


def scores(models, tokens, folder, activations, kind):
    text = text_of(tokens, samples=8)
    given = {"model": models(kind), "trustRemoteCode": False, "quantized": str(folder), "text": text, "prompts": []}
    return evaluate({**given, "activations": activations, "newTokens": 1, "batch": 2, "threads": 1}, Events())["quantized"]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mixtral"])
def test_ranges_of_the_same_pass_are_those_of_a_pass_of_their_own(models, tokens, tmp_path, kind):
    done = quantize(params_of(models(kind), tmp_path, tokens, activations=OPTIONS), Events())
    found = {each["name"]: each for each in done["activations"]}
    given = {"model": models(kind), "trustRemoteCode": False, "quantized": str(tmp_path), "batch": 2, "threads": 1}
    again = ranges({**given, "calibration": text_of(tokens), "activations": OPTIONS}, Events())
    other = {each["name"]: each for each in again["activations"]}
    assert set(found) == set(other) and len(found) > 3 * 12
    for name, each in found.items():
        assert each["scale"] == pytest.approx(other[name]["scale"], rel=1e-4), name
    plain, rounded = (scores(models, tokens, tmp_path, on, kind) for on in (False, True))
    assert plain["perplexity"] != rounded["perplexity"]
    assert abs(rounded["perplexity"] / plain["perplexity"] - 1) < 0.01
    assert len(Reader(str(tmp_path)).activations) == len(found)


def test_rules_of_fixed_and_shared_grids(models, tokens, tmp_path):
    found = {
        each["name"]: each
        for each in quantize(params_of(models("llama"), tmp_path, tokens, activations={**OPTIONS, "symmetric": False}), Events())["activations"]
    }
    block = "model.layers.1"
    softmax = found[f"{block}.attention:probabilities"]
    assert softmax["rule"] == "softmax" and softmax["scale"] == pytest.approx(1 / 65535) and softmax["zeroPoint"] == -32768
    assert found[f"{block}.mlp.act_fn.sigmoid:output"]["rule"] == "sigmoid"
    for projection, operand in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")):
        one, other = found[f"{block}.self_attn.{projection}:output"], found[f"{block}.attention:{operand}"]
        assert one["rule"] == "shared" and (one["scale"], one["zeroPoint"]) == (other["scale"], other["zeroPoint"])
    product = found[f"{block}.mlp.down_proj:input"]
    assert product["rule"] == "range" and product["scale"] != found[f"{block}.mlp.up_proj:output"]["scale"]
    assert {"model.embed_tokens:output", "model.norm:output", "lm_head:output"} <= set(found)


def test_the_cache_may_be_narrower_than_the_rest(models, tokens, tmp_path):
    quantize(params_of(models("llama"), tmp_path, tokens, activations={**OPTIONS, "kvBits": 8}), Events())
    found = {each["name"]: each for each in Reader(str(tmp_path)).activations}
    for projection, operand in (("k_proj", "key"), ("v_proj", "value")):
        cached, before = found[f"model.layers.0.attention:{operand}"], found[f"model.layers.0.self_attn.{projection}:output"]
        assert (cached["bits"], before["bits"]) == (8, 16)
        assert cached["scale"] == pytest.approx(max(-cached["low"], cached["high"]) / 127, rel=1e-6)
    assert found["model.layers.0.attention:query"]["bits"] == 16
    wide, narrow = (scores(models, tokens, tmp_path, on, "llama")["kl"] for on in (False, True))
    assert wide < narrow < wide + 0.05


def test_a_whole_network_is_rounded_as_its_blocks_are(models, tokens, tmp_path):
    """Generation taps all blocks at once, evaluation one after the other."""
    from dopt.llm.whole import observe_all
    from dopt.llm.families import find_blocks
    from dopt.llm.restore import open_quantized
    from dopt.llm.simulate import tapped_network

    quantize(params_of(models("llama"), tmp_path, tokens, activations={**OPTIONS, "bits": 8, "kvBits": 8}), Events())
    batch, taps = torch.arange(40).reshape(2, 20) % 90, []
    for whole in (False, True):
        source = open_quantized(str(tmp_path))
        grids, seen = Grids(source.reader.activations), {}

        def tap(name, x):
            seen[name] = grids.tap(name, x)
            return seen[name]

        if whole:
            source.fill(source.network, "")
            with torch.no_grad(), tapped_network(source, find_blocks(source.network, source.config), tap):
                source.network(input_ids=batch)
        else:
            observe_all(source, [batch], tap, 1, Events())
        taps.append(seen)
    blocks = [name for name in taps[0] if name.startswith("model.layers")]
    assert len(blocks) > 3 * 20 and set(taps[0]) == set(taps[1])
    for name in blocks:
        same = torch.isclose(taps[0][name], taps[1][name], atol=1e-6).float().mean()
        # A sum in another order may fall to the other side of a step of 8 bits.
        assert same > 0.9, name


def test_rounding_saturates_and_keeps_zero():
    grid = {"name": "x", "scale": 0.5, "zeroPoint": 3, "bits": 8, "symmetric": False}
    tap = Grids([grid]).tap
    x = torch.tensor([0.0, 0.26, 1000.0, -1000.0])
    assert tap("x", x).tolist() == [0.0, 0.5, (127 - 3) * 0.5, (-128 - 3) * 0.5]
    assert tap("y", x) is x


def test_without_ranges_nothing_is_simulated(models, tokens, tmp_path):
    quantize(params_of(models("llama"), tmp_path, tokens, rounding="nearest"), Events())
    with pytest.raises(DoptError, match="no ranges"):
        scores(models, tokens, tmp_path, True, "llama")
