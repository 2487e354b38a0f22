"""Folders of language models whose weights are pickled."""

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
