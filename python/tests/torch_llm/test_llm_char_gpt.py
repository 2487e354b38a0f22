"""The character GPT of the assets as a folder of transformers: the same probabilities, and quantized block by block."""

import importlib.util
from pathlib import Path

import pytest
import torch
import transformers
from conftest import params_of

from dopt.events import Events
from dopt.llm.quantize import quantize

RECIPES = Path(__file__).resolve().parents[3] / "recipes"


def module_of(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_converted_network_says_the_same(assets, tmp_path):
    weights, text = assets / "models/torch/char-gpt-shakespeare.pth", assets / "data/text/tinyshakespeare.txt"
    folder, numbers = str(tmp_path / "model"), tmp_path / "ids.npy"
    module_of(RECIPES / "llm/char_gpt_to_hf.py").convert(str(weights), str(text), folder)
    end = text.read_text(encoding="utf-8")[-48 * 40 :]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor(tokenizer(end)["input_ids"]).view(40, 48)
    assert tokenizer.decode(ids[0].tolist()) == end[:48]
    own = module_of(RECIPES / "plugin/char_gpt.py").CharGpt().eval()
    state = torch.load(str(weights), map_location="cpu")
    own.load_state_dict({name: each[:48, :48] if name.endswith("tril") else each for name, each in state.items()})
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        wanted, found = own(ids).log_softmax(-1), model(input_ids=ids).logits.log_softmax(-1)
    assert float((wanted - found).abs().max()) < 1e-4
    assert float(-found[:, :-1].gather(-1, ids[:, 1:, None]).mean()) == pytest.approx(2.0, abs=0.1)

    import numpy as np

    np.save(str(numbers), ids.flatten().numpy())
    done = quantize(params_of(folder, tmp_path / "out", str(numbers)), Events())
    assert done["blocks"][-1]["error"] < 0.02 and len(done["linears"]) == 4 * 6 + 1
