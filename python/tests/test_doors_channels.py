"""Frozen graphs with channels first run on a processor by oneDNN; others are computed as they were."""

import os

import pytest

from dopt import doors


@pytest.mark.parametrize("name, content, expected", [
    ("net.pb", b"\x12\x04NCHW", "1"), ("net.pb", b"\x12\x04NHWC", None), ("net.h5", b"NCHW", None), ("none.pb", None, None)])
def test_tensorflow_is_asked_for_onednn_where_a_graph_needs_it(tmp_path, monkeypatch, name, content, expected):
    environment = {}
    monkeypatch.setattr(os, "environ", environment)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    doors._compute_channels_first(str(tmp_path / name))
    doors._compute_channels_first(None)
    assert environment.get("TF_ENABLE_ONEDNN_OPTS") == expected
