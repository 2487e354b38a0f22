"""Files that cannot be captured: each fault has its code, names the file and says what to do."""

import os

import numpy as np
import pytest
from models import constant, convolutional, floats, integers, model, node, value, write
from onnx import TensorProto, helper

from dopt.errors import DoptError


@pytest.fixture
def refuse(capture):
    """refuse(path, code, **params) -> the error, after checking what every error must have."""

    def call(path, code, kind="user", **params):
        with pytest.raises(DoptError) as error:
            capture(path, **params)
        found = error.value
        assert (found.code, found.kind) == (code, kind), found.message
        assert str(path) in found.message and found.place == str(path) and found.suggestions
        return found

    return call


@pytest.mark.parametrize(
    ("content", "code", "text"),
    [
        (b"", "MODEL_EMPTY_FILE", "0 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "MODEL_NOT_ONNX", "Git LFS"),
        (b"PK\x03\x04rest", "MODEL_NOT_ONNX", "zip"),
        (b"\x1c\0\0\0TFL3rest", "MODEL_NOT_ONNX", "TensorFlow Lite"),
        (b"<!DOCTYPE html>", "MODEL_NOT_ONNX", "web page"),
        (b"hello, world\n" * 9, "MODEL_NOT_ONNX", "no ONNX"),
        (b"\x08\x07", "MODEL_EMPTY_GRAPH", "no graph"),
    ],
)
def test_files_that_are_no_onnx(tmp_path, refuse, content, code, text):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    assert text in refuse(path, code).message


def test_truncated_file(tmp_path, refuse):
    path = write(convolutional(), tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes()[:-100])
    refuse(path, "MODEL_NOT_ONNX")


def test_paths(tmp_path, refuse):
    write(convolutional(), tmp_path / "model.onnx")
    assert "model.onnx" in refuse(tmp_path / "modle.onnx", "MODEL_NOT_FOUND").suggestions[0]
    assert "model.onnx" in refuse(tmp_path, "MODEL_NOT_A_FILE").suggestions[0]
    refuse(write(convolutional(), tmp_path / "model.pb"), "MODEL_EXTENSION")
    refuse(write(convolutional(), tmp_path / "model"), "MODEL_EXTENSION")


def test_more_than_protobuf_holds(tmp_path, refuse):
    path = tmp_path / "m.onnx"
    with open(path, "wb") as file:
        file.truncate((1 << 31) + 1)
    assert "external data" in refuse(path, "MODEL_TOO_LARGE").suggestions[0]


@pytest.mark.parametrize(("opset", "ir", "code"), [(6, 3, "MODEL_OPSET"), (21, 9, "MODEL_OPSET"), (13, 2, "MODEL_IR_VERSION"), (13, 10, "MODEL_IR_VERSION")])  # fmt: skip
def test_versions(tmp_path, refuse, opset, ir, code):
    made = convolutional()
    made.opset_import[0].version, made.ir_version = opset, ir
    refuse(write(made, tmp_path / "m.onnx"), code)


def test_no_default_operator_set(tmp_path, refuse):
    made = convolutional()
    made.opset_import[0].domain = "com.example"
    refuse(write(made, tmp_path / "m.onnx"), "MODEL_OPSET")


def test_what_opset_18_cannot_say_is_named(tmp_path, refuse):
    nodes = [node("Pad", "x p", "y", "padding", mode="wrap")]
    made = model(nodes, [value("x", [4])], [value("y", [6])], [integers("p", 1, 1)], check=False)
    made.opset_import[0].version = 19
    assert "'padding' (Pad) with mode wrap" in refuse(write(made, tmp_path / "m.onnx"), "MODEL_OPSET").message


def test_quantized_models(tmp_path, refuse):
    nodes = [node("QuantizeLinear", "x s z", "q", "quantize"), node("DequantizeLinear", "q s z", "y")]
    made = model(nodes, [value("x", [2])], [value("y", [2])], [constant("s", np.float32(1)), constant("z", np.uint8(0))])
    assert "quantize" in refuse(write(made, tmp_path / "m.onnx"), "MODEL_ALREADY_QUANTIZED").message


def test_external_data_faults(tmp_path, refuse):
    made = convolutional()
    path, data = write(made, tmp_path / "m.onnx", external=True), tmp_path / "m.onnx.data"
    whole = data.read_bytes()
    data.write_bytes(whole[:-8])
    assert "cut short" in refuse(path, "MODEL_EXTERNAL_DATA").suggestions[0]
    data.unlink()
    assert str(data) in refuse(path, "MODEL_EXTERNAL_DATA").message
    for location in ("/etc/passwd", "../m.onnx.data", ""):
        made.graph.initializer[0].external_data[0].value = location
        refuse(write(made, path), "MODEL_EXTERNAL_DATA")


def test_damaged_tensors(tmp_path, refuse):
    for dims, data_type in [([8, 3, 3, 4], 1), ([-8, 3, 3, 3], 1), ([1 << 40, 1 << 40], 1), ([8, 3, 3, 3], 11), ([8, 3, 3, 3], 99)]:
        made = convolutional()
        del made.graph.initializer[0].dims[:]
        made.graph.initializer[0].dims.extend(dims)
        made.graph.initializer[0].data_type = data_type
        assert "'w1'" in refuse(write(made, tmp_path / "m.onnx"), "MODEL_TENSOR").message


def test_broken_graphs(tmp_path, refuse):
    x, y = [value("x", [2])], [value("y", [2])]
    cases = [
        ([node("Relu", "x", "y"), node("Neg", "x", "y")], "twice"),
        ([node("Add", "x b", "y", "sum"), node("Neg", "y", "b")], "loop"),
        ([node("Add", "x missing", "y", "sum")], "'missing'"),
        ([node("Relu", "x", "z")], "graph output 'y'"),
        ([node("Reluu", "x", "y")], "Reluu"),
        ([node("Relu", "x x", "y")], "onnx.checker"),
    ]
    for nodes, text in cases:
        made = model(nodes, x, y, check=False)
        assert text in refuse(write(made, tmp_path / "m.onnx"), "MODEL_INVALID").message
    made = model([node("Add", "x w", "y")], x, y, [floats("w", 2), floats("w", 2)], check=False)
    refuse(write(made, tmp_path / "m.onnx"), "MODEL_INVALID")


def test_numbers_that_native_code_would_divide_by(tmp_path, capture):
    """Strides of 0 and groups of 0 must not reach native shape inference unchecked."""
    for attributes in ({"strides": [0, 0]}, {"group": 0}, {"dilations": [0, 0]}, {"kernel_shape": [0, 0]}):
        made = model(
            [helper.make_node("Conv", ["x", "w"], ["y"], name="conv", **attributes)],
            [value("x", [1, 1, 4, 4])], [value("y", None)], [floats("w", 1, 1, 1, 1)], check=False,
        )  # fmt: skip
        with pytest.raises(DoptError):
            capture(write(made, tmp_path / "m.onnx"))


def test_output_folder_that_cannot_be_written(tmp_path, capture):
    path = write(convolutional(), tmp_path / "m.onnx")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DoptError) as error:
        capture(path, "file/inside")
    assert error.value.kind == "environment" and "file" in error.value.message


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_unreadable_file(tmp_path, refuse):
    path = write(convolutional(), tmp_path / "m.onnx")
    path.chmod(0)
    refuse(path, "MODEL_UNREADABLE")


def test_sparse_weights_become_dense(tmp_path, capture):
    made = model([node("MatMul", "x w", "y")], [value("x", [1, 3])], [value("y", [1, 2])], check=False)
    values = helper.make_tensor("w", TensorProto.FLOAT, [2], [5.0, 7.0])
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(values, integers("at", 1, 4), [3, 2]))
    _, graph = capture(write(made, tmp_path / "m.onnx"))
    assert graph["initializers"][0]["value"] == [0, 5, 0, 0, 7, 0]


def test_native_crashes_become_errors(tmp_path, refuse, monkeypatch):
    import ctypes

    from dopt.capture import opset

    monkeypatch.setattr(opset, "check", lambda network: ctypes.string_at(0))
    path = write(convolutional(), tmp_path / "m.onnx")
    assert "SIGSEGV" in refuse(path, "MODEL_CRASHED", "external").message
