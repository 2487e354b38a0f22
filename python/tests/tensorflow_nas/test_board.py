"""What TensorBoard itself reads of the logs that are written without it."""

import os

import pytest

from dopt.events import Events
from dopt.nas.board import Board, picture

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def read(folder):
    found = accumulator.EventAccumulator(folder)
    found.Reload()
    return found


def test_scalars_and_the_picture_are_what_tensorboard_reads(tmp_path):
    folder = str(tmp_path / "log")
    board = Board(folder)
    for step in (0, 1, 300):
        board.scalars(step, loss=0.5 * step, learning_rate=0.1)
    found = read(folder)
    assert [(each.step, each.value) for each in found.Scalars("loss")] == [(0, 0.0), (1, 0.5), (300, 150.0)]
    assert [each.value for each in found.Scalars("learning_rate")] == pytest.approx([0.1] * 3)

    points = [{"score": 0.5, "cost": 10.0, "number": 0}, {"score": 0.4, "cost": 12.0, "number": None}]
    params = {"points": points, "cost": "size", "tried": 2, "file": str(tmp_path / "pareto.png"), "log": str(tmp_path / "picture")}
    picture(params, Events())
    image = read(params["log"]).Images("pareto")[0]
    assert (image.step, image.width, image.height) == (2, 960, 600)
    with open(params["file"], "rb") as file:
        assert image.encoded_image_string == file.read()


def test_nothing_is_written_without_a_folder(tmp_path):
    Board(None).scalars(0, loss=1.0)
    assert os.listdir(tmp_path) == []
