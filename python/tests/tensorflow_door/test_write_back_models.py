"""Real frozen graphs and a Keras file, written back and compared with QDQ ONNX on the data they are made for."""

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow (profile tensorflow)")
pytest.importorskip("tf2onnx", reason="needs tf2onnx (profile tensorflow)")

from write_back_graphs import Quantized, borders_of, convert, run_graph, run_onnx  # noqa: E402

from dopt.doors.tensorflow.load import load_graph  # noqa: E402
from dopt.doors.tensorflow.write_back import WriteBack  # noqa: E402

CLIPS, PICTURES = 96, 100


def clip_features(graph_def, assets):
    """What the graph's own front end makes of real clips."""
    import tensorflow as tf

    clips = sorted((assets / "data" / "speech").rglob("*.wav"))
    clips = clips[:: max(1, len(clips) // CLIPS)][:CLIPS]
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    with tf.compat.v1.Session(graph=graph) as session:
        return [{"Mfcc:0": session.run("Mfcc:0", {"wav_data:0": clip.read_bytes()})} for clip in clips]


def cifar(name, assets):
    from PIL import Image

    rows = np.asarray(Image.open(assets / "data" / "cifar10" / "test.png"))[:PICTURES]
    return [{name: row.reshape(1, 32, 32, 3).astype(np.float32)} for row in rows]


def compare(graph_def, feeds, name, output, tmp_path):
    """Largest difference of the outputs and share of equal decisions; what is unmapped must be nothing."""
    path = convert(graph_def, {name: list(feeds[0][name].shape)}, [output], tmp_path)
    quantized = Quantized(path, feeds[: len(feeds) // 4])
    found = WriteBack(graph_def, path, quantized.plan, quantized.save(tmp_path), borders_of([name], [output]))
    written, _, unmapped = found.graph(True)
    assert unmapped == []
    assert len(quantized.plan["layers"]) == len(
        [node for node in quantized.source.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    )
    found = np.concatenate([run_graph(written, each, [output])[0] for each in feeds])
    expected = np.concatenate([run_onnx(quantized.model, each, [output])[0] for each in feeds])
    decided = np.mean(np.argmax(found, axis=1) == np.argmax(expected, axis=1))
    difference = np.abs(found - expected)
    print(f"max {difference.max():.2g}, mean {difference.mean():.2g}, rows within 1e-5: {np.mean(difference.max(1) < 1e-5):.3f}")
    return difference, decided


@pytest.mark.parametrize("name", ["ds-cnn-s", "cnn-s", "dnn-s"])
def test_keyword_spotting(name, assets, tmp_path):
    graph_def = load_graph(str(assets / "models" / "tensorflow" / f"{name}.pb")).graph_def
    difference, decided = compare(graph_def, clip_features(graph_def, assets), "Mfcc:0", "labels_softmax:0", tmp_path)
    assert decided >= 0.995
    assert difference.max() < 2e-2 and difference.mean() < 1e-4


@pytest.mark.parametrize("ending", ["pb", "h5"])
def test_resnet8(ending, assets, tmp_path):
    loaded = load_graph(str(assets / "models" / "tensorflow" / f"resnet8-cifar10.{ending}"))
    name, output = (loaded.inputs or ["input:0"])[0], (loaded.outputs or ["Identity:0"])[0]
    difference, decided = compare(loaded.graph_def, cifar(name, assets), name, output, tmp_path)
    assert decided >= 0.995
    assert difference.mean() < 1e-3
