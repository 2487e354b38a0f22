"""Method writeBack: the file, what it keeps of the user's graph, and layers without a counterpart."""

import hashlib
import json

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow (profile tensorflow)")
pytest.importorskip("tf2onnx", reason="needs tf2onnx (profile tensorflow)")

import tensorflow as tf  # noqa: E402
from write_back_graphs import SHAPE, Case, borders_of, constant, read_graph, run_graph, sequential  # noqa: E402

from dopt.doors.tensorflow.write_back import write_back  # noqa: E402
from dopt.errors import DoptError  # noqa: E402
from dopt.events import Events  # noqa: E402

keras = tf.keras


def small():
    return sequential(keras.layers.Conv2D(4, 3, padding="same"), keras.layers.BatchNormalization(), keras.layers.ReLU())


def params_of(case, folder, **changes):
    (folder / "net.pb").write_bytes(case.graph.SerializeToString())
    return {
        "framework": "tensorflow",
        "model": str(folder / "net.pb"),
        "weights": None,
        "className": None,
        "inputShapes": {},
        "outputs": None,
        "trustCode": False,
        "borders": borders_of(["x:0"], ["out:0"]),
        "onnx": case.path,
        "writeBack": str(folder / "write-back.json"),
        "parameters": case.parameters,
        "out": str(folder / "written.pb"),
        "fakeQuantOut": str(folder / "rounded.pb"),
        **changes,
    }


def test_the_file(tmp_path):
    case = Case(small(), tmp_path)
    result = write_back(params_of(case, tmp_path), Events())
    paths = [tmp_path / name for name in ("written.pb", "rounded.pb")]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    assert result["files"] == [
        {"path": str(path), "bytes": path.stat().st_size, "sha256": digest} for path, digest in zip(paths, digests)
    ]
    assert result["notes"] == [] and result["unmapped"] == []
    assert case.compare(read_graph(paths[1]))[0] > 0.99
    assert not list(tmp_path.glob("*.part"))
    again = write_back(params_of(case, tmp_path, out=str(tmp_path / "again.pb"), fakeQuantOut=None), Events())
    assert [each["sha256"] for each in again["files"]] == digests[:1]


def test_weights_are_exactly_on_the_grid(tmp_path):
    case = Case(small(), tmp_path)
    write_back(params_of(case, tmp_path, fakeQuantOut=None), Events())
    graph = {node.name: node for node in read_graph(tmp_path / "written.pb").node}
    layer = case.quantized.plan["layers"][0]["name"]
    convolution = next(node for node in graph.values() if node.op == "Conv2D")
    source = graph[convolution.input[1]]
    while source.op == "Identity":
        source = graph[source.input[0]]
    integers, scale = (case.quantized.numbers[f"{layer}/weight/{each}"] for each in ("integers", "scale"))
    expected = integers.transpose(2, 3, 1, 0).astype(np.float32) * scale
    np.testing.assert_array_equal(tf.make_ndarray(source.attr["value"].tensor), expected)
    bias = next(node for node in graph.values() if node.op == "BiasAdd")
    found = tf.make_ndarray(graph[bias.input[1]].attr["value"].tensor)
    np.testing.assert_array_equal(found, case.quantized.numbers[f"{layer}/bias"])


def test_what_is_folded_goes_and_names_stay(tmp_path):
    case = Case(small(), tmp_path)
    graph = case.write(False)[0]
    before, after = ({node.name: node.op for node in each.node} for each in (case.graph, graph))
    tail = next(name for name, op in before.items() if op.startswith("FusedBatchNorm"))
    assert after[tail] == "BiasAdd" and after["x"] == "Placeholder" and "out" in after
    assert not any(op.startswith("FusedBatchNorm") for op in after.values())
    assert len(after) < len(before)


def test_results_beyond_the_cut_are_kept(tmp_path):
    """What the user's graph computes besides the quantized part stays, and reads what it read."""

    def build(x):
        inner = tf.nn.conv2d(x, constant(3, 3, 3, 4), 1, "SAME")
        tf.reduce_sum(inner, name="before_bias")
        y = tf.nn.relu(tf.nn.bias_add(inner, constant(4, seed=1)))
        tf.argmax(y, -1, name="classes")
        return y

    case = Case(build, tmp_path, readers=())
    # Results that nothing reads are added by hand: freezing leaves them out.
    for name, op, source in (("spare", "Sinh", "Conv2D"), ("classes", "Cosh", "Relu")):
        node = case.graph.node.add(name=name, op=op, input=[source])
        node.attr["T"].type = tf.float32.as_datatype_enum
    graph, notes, _ = case.write(False)
    assert case.compare(graph)[0] == 1.0
    assert len(notes) == 1 and "read elsewhere as well" in notes[0]
    feeds = {"x:0": np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)}
    spare, classes, result = run_graph(graph, feeds, ["spare:0", "classes:0", "out:0"])
    np.testing.assert_array_equal(spare, run_graph(case.graph, feeds, ["spare:0"])[0])
    np.testing.assert_allclose(classes, np.cosh(result), rtol=1e-5)


def test_shared_weights_are_told(tmp_path):
    kernel = tf.Variable(constant(3, 3, 3, 3))

    def build(x):
        return tf.nn.conv2d(tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME")), kernel, 1, "SAME")

    case = Case(build, tmp_path)
    graph, notes, _ = case.write(True)
    assert case.compare(graph)[0] > 0.99
    assert len(notes) == 2 and all("a weight of its own" in note for note in notes)


def test_a_scale_that_the_converter_folded(tmp_path):
    """The initializer is the weight times a factor for each channel: the same layer all the same."""
    import onnx
    from onnx import numpy_helper

    def build(x):
        x = tf.nn.bias_add(tf.nn.conv2d(x, constant(3, 3, 3, 4), 1, "SAME"), constant(4, seed=1))
        return tf.nn.relu(x * constant(4, seed=2, low=0.5) + constant(4, seed=3))

    case = Case(build, tmp_path)
    model = onnx.load(case.path)
    nodes = {node.op_type: node for node in model.graph.node}
    norm, conv = nodes["BatchNormalization"], nodes["Conv"]
    arrays = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    gain, offset = arrays[norm.input[1]], arrays[norm.input[2]]
    changed = {conv.input[1]: arrays[conv.input[1]] * gain[:, None, None, None], conv.input[2]: arrays[conv.input[2]] * gain + offset}
    for each in model.graph.initializer:
        if each.name in changed:
            each.CopyFrom(numpy_helper.from_array(changed[each.name], each.name))
    conv.output[0] = norm.output[0]
    model.graph.node.remove(norm)
    case.path = str(tmp_path / "folded.onnx")
    onnx.save(model, case.path)
    case.quantize(tmp_path)
    graph, _, unmapped = case.write(True)
    assert unmapped == [] and case.compare(graph)[0] > 0.99
    assert not any(node.op == "Mul" and "fake_quant" not in node.name for node in graph.node)


def test_a_layer_without_counterpart(tmp_path):
    """Another weight than the graph's: nothing is written, and what lies under the name stays."""
    import onnx
    from onnx import numpy_helper

    case = Case(small(), tmp_path)
    model = onnx.load(case.path)
    layer = case.quantized.plan["layers"][0]
    for each in model.graph.initializer:
        if each.name == layer["weight"]:
            array = numpy_helper.to_array(each).copy()
            array[2, 1, 1, 1] += 0.5
            each.CopyFrom(numpy_helper.from_array(array, each.name))
    onnx.save(model, str(tmp_path / "other.onnx"))
    (tmp_path / "written.pb").write_bytes(b"mine")
    with pytest.raises(DoptError) as caught:
        write_back(params_of(case, tmp_path, onnx=str(tmp_path / "other.onnx")), Events())
    error = caught.value
    assert (error.code, error.kind, error.place) == ("WRITE_BACK_UNMAPPED", "external", str(tmp_path / "net.pb"))
    assert layer["name"] in error.message and layer["weight"] in error.message
    assert (tmp_path / "written.pb").read_bytes() == b"mine"
    assert not list(tmp_path.glob("*.part"))


def test_an_initializer_that_is_not_there(tmp_path):
    case = Case(small(), tmp_path)
    plan = json.loads((tmp_path / "write-back.json").read_text())
    plan["layers"][0]["weight"] = "elsewhere"
    (tmp_path / "write-back.json").write_text(json.dumps(plan))
    with pytest.raises(DoptError, match="elsewhere") as caught:
        write_back(params_of(case, tmp_path), Events())
    assert caught.value.code == "WRITE_BACK_UNMAPPED"


def test_an_output_folder_that_is_not_there(tmp_path):
    case = Case(small(), tmp_path)
    with pytest.raises(DoptError) as caught:
        write_back(params_of(case, tmp_path, out=str(tmp_path / "no" / "written.pb")), Events())
    assert (caught.value.code, caught.value.kind) == ("OUTPUT_WRITE", "environment")


def test_borders_that_do_not_fit(tmp_path):
    case = Case(small(), tmp_path)
    borders = borders_of(["x:0"], ["out:0"])
    borders["inputs"][0]["frameworkName"] = "no_such_node:0"
    with pytest.raises(DoptError) as caught:
        write_back(params_of(case, tmp_path, borders=borders), Events())
    assert caught.value.code == "WRITE_BACK_RUN"
