"""Folders of language models whose weights are pickled."""

import json
import os
import shutil

import pytest
import torch

from dopt.errors import DoptError
from dopt.llm.load import open_model


class Code:
    """Unpickled, it makes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (self.marker, "w")


@pytest.fixture()
def pickled(models, tmp_path):
    """pickled(**more) -> a folder with its weights, and more, in pytorch_model.bin."""
    folder = str(tmp_path / "model")
    shutil.copytree(models("llama"), folder)

    def write(**more):
        source = open_model(folder)
        state = {name: source.read(name).clone() for name in source.names}
        for name in os.listdir(folder):
            if name.endswith(".safetensors"):
                os.remove(os.path.join(folder, name))
        torch.save({**state, **more}, os.path.join(folder, "pytorch_model.bin"))
        return folder, state

    return write


def test_weights_are_those_of_the_file(pickled):
    folder, state = pickled()
    source = open_model(folder)
    assert set(source.names) == set(state)
    assert all(torch.equal(source.read(name), value) for name, value in state.items())


def test_code_among_the_weights_is_not_run(pickled, tmp_path):
    folder, _ = pickled(extra=Code(str(tmp_path / "marker")))
    with pytest.raises(DoptError) as caught:
        open_model(folder)
    assert caught.value.code == "WEIGHTS_REFUSED"
    assert not os.path.exists(tmp_path / "marker")


def _with_settings(models, tmp_path, **changes):
    """A folder whose config.json says something else of the weights beside it."""
    folder = str(tmp_path / "model")
    shutil.copytree(models("llama"), folder)
    path = os.path.join(folder, "config.json")
    with open(path) as file:
        config = json.load(file)
    with open(path, "w") as file:
        json.dump({**config, **changes}, file)
    return folder


def test_weights_of_a_smaller_model_are_refused_before_the_large_one_is_made(models, tmp_path):
    folder = _with_settings(models, tmp_path, hidden_size=8192, num_hidden_layers=400)
    with pytest.raises(DoptError) as caught:
        open_model(folder)
    assert caught.value.code == "LLM_FOLDER" and "bytes" in caught.value.message


def test_a_damaged_number_of_blocks_is_told_at_once(models, tmp_path):
    folder = _with_settings(models, tmp_path, num_hidden_layers=1 << 40)
    with pytest.raises(DoptError) as caught:
        open_model(folder)
    assert caught.value.code == "LLM_ARCHITECTURE" and "num_hidden_layers" in caught.value.message
