"""What a worker on a cluster says where there is no Ray, and which code it gets."""

import io
import sys
import zipfile

import pytest

from dopt.errors import DoptError
from dopt.events import StreamEvents
from dopt.nas import ray_bridge


def test_ray_that_is_missing_is_named_with_the_next_step(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DoptError) as caught:
        ray_bridge._Place({"address": "auto", "cpus": 1, "gpus": 0}, StreamEvents(1))
    assert (caught.value.code, caught.value.kind) == ("RAY_MISSING", "environment")
    assert f"{sys.executable} -m pip install ray" in caught.value.suggestions[0]


def test_a_worker_gets_the_code_of_all_methods():
    with zipfile.ZipFile(io.BytesIO(ray_bridge._package())) as packed:
        names = packed.namelist()
    assert "dopt/methods.py" in names and "dopt/nas/torch_train.py" in names
    assert not any("__pycache__" in name for name in names)
