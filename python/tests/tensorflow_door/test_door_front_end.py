"""Front ends that ONNX has no operators for: the graph is cut behind them, and TensorFlow makes the features."""

import struct

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="needs TensorFlow (profile tensorflow)")
pytest.importorskip("tf2onnx", reason="needs tf2onnx (profile tensorflow)")

from doorway import captured, convert, frozen, model_params, normal, refused, write_graph  # noqa: E402
from sources import PREPROCESS  # noqa: E402
from write_back_graphs import constant  # noqa: E402

from dopt.doors.tensorflow import door  # noqa: E402
from dopt.errors import DoptError  # noqa: E402
from dopt.events import Events  # noqa: E402

RATE = 16000


def classify(features):
    """A small network over features [1, frames, 10]."""
    x = tf.reshape(features, [-1, features.shape[1], 10, 1])
    x = tf.nn.relu(tf.nn.conv2d(x, constant(5, 3, 1, 4), 2, "SAME"))
    return tf.nn.softmax(tf.reduce_mean(x, [1, 2]) @ constant(4, 3, seed=1))


def spectrum(audio):
    spectrogram = tf.raw_ops.AudioSpectrogram(input=audio, window_size=640, stride=320, magnitude_squared=True)
    return tf.raw_ops.Mfcc(spectrogram=spectrogram, sample_rate=RATE, dct_coefficient_count=10, name="Mfcc")


def speech(folder):
    """A keyword network that takes the bytes of a wav file, as speech commands are frozen."""
    with tf.Graph().as_default() as graph:
        data = tf.compat.v1.placeholder(tf.string, [], name="wav_data")
        decoded = tf.raw_ops.DecodeWav(contents=data, desired_channels=1, desired_samples=RATE, name="decoded")
        features = spectrum(decoded.audio)
        features.set_shape([1, 49, 10])
        tf.identity(classify(features), name="labels")
    return write_graph(folder, graph.as_graph_def())


def wav(path, seed=0, rate=RATE, samples=RATE):
    noise = (np.random.default_rng(seed).standard_normal(samples) * 3000).astype("<i2").tobytes()
    head = b"RIFF" + struct.pack("<I", 36 + len(noise)) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + b"data" + struct.pack("<I", len(noise)) + noise)


def compute(folder, path, result, data, skip_bad=False, **more):
    front_end = {name: result["frontEnd"][name] for name in ("takes", "input", "features")}
    params = {"frontEnd": front_end, "data": str(data), "preprocess": PREPROCESS, "skipBad": skip_bad, "out": str(folder / "features")}
    return door.compute_features({**model_params(path, **more), **params}, Events())


def in_tensorflow(path, outputs, feeds):
    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString(path.read_bytes())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    with tf.compat.v1.Session(graph=graph) as session:
        return session.run(outputs, feeds)


def test_the_graph_begins_behind_the_audio_front_end(tmp_path):
    result = convert(tmp_path, speech(tmp_path))
    assert result["inputs"] == [{"name": "Mfcc", "frameworkName": "Mfcc:0"}]
    front_end = result["frontEnd"]
    assert (front_end["takes"], front_end["input"], front_end["features"]) == ("wav", "wav_data:0", "Mfcc:0")
    assert "DecodeWav, AudioSpectrogram, Mfcc" in front_end["description"]
    assert len(result["notes"]) == 1 and "Mfcc:0" in result["notes"][0]
    assert result["parity"]["samples"] == 4
    ops, graph = captured(tmp_path, result)
    assert ops["Conv"] == 1 and graph["inputs"][0]["shape"] == [1, 49, 10]


def test_features_are_what_the_graph_computes(tmp_path):
    path = speech(tmp_path)
    result = convert(tmp_path, path)
    for place, name in enumerate(["yes/a.wav", "yes/b.WAV", "no/a.wav", ".hidden/c.wav"]):
        wav(tmp_path / "clips" / name, seed=place)
    (tmp_path / "clips" / "readme.txt").write_text("not a clip")
    found = compute(tmp_path, path, result, tmp_path / "clips")
    assert found == {"names": ["no/a.wav", "yes/a.wav", "yes/b.WAV"], "skipped": []}
    for name in found["names"]:
        features = np.load((tmp_path / "features" / name).with_suffix(".npy"))
        content = (tmp_path / "clips" / name).read_bytes()
        expected, labels = in_tensorflow(path, ["Mfcc:0", "labels:0"], {"wav_data:0": content})
        np.testing.assert_array_equal(features, expected)
        # From the features on, the ONNX form gives what the whole graph gives.
        from dopt.capture.runner import Session

        np.testing.assert_allclose(Session(result["model"]).run(["labels"], {"Mfcc": features})[0], labels, rtol=1e-4, atol=1e-6)


def test_clips_that_cannot_be_read(tmp_path):
    path = speech(tmp_path)
    result = convert(tmp_path, path)
    wav(tmp_path / "clips" / "good.wav")
    (tmp_path / "clips" / "bad.wav").write_bytes(b"RIFF no wav at all")
    error = refused("DATA_CORRUPT", lambda: compute(tmp_path, path, result, tmp_path / "clips"))
    assert error.place.endswith("bad.wav") and "--skip-bad" in error.suggestions[0]
    found = compute(tmp_path, path, result, tmp_path / "clips", skip_bad=True)
    assert found["names"] == ["good.wav"] and [each["file"] for each in found["skipped"]] == ["bad.wav"]


def test_folders_without_clips(tmp_path):
    path = speech(tmp_path)
    result = convert(tmp_path, path)
    (tmp_path / "empty").mkdir()
    refused("DATA_EMPTY_FOLDER", lambda: compute(tmp_path, path, result, tmp_path / "empty"))
    refused("DATA_NOT_FOUND", lambda: compute(tmp_path, path, result, tmp_path / "nowhere"))


def sound(folder, frames=None):
    """A keyword network that takes the samples of a clip as numbers."""

    def build(x):
        features = spectrum(tf.reshape(x, [RATE, 1]))
        features.set_shape([1, 49, 10])
        return classify(features)

    return frozen(folder, build, RATE if frames is None else None, 1)


def test_a_front_end_that_takes_numbers(tmp_path):
    path = sound(tmp_path)
    result = convert(tmp_path, path)
    assert result["frontEnd"]["takes"] == "samples" and result["frontEnd"]["input"] == "x:0"
    clips = 0.1 * normal(3, RATE, 1)
    (tmp_path / "clips").mkdir()
    for place, clip in enumerate(clips):
        np.save(tmp_path / "clips" / f"{place}.npy", clip)
    found = compute(tmp_path, path, result, tmp_path / "clips")
    assert found["names"] == ["0.npy", "1.npy", "2.npy"]
    for place, clip in enumerate(clips):
        expected = in_tensorflow(path, ["Mfcc:0"], {"x:0": clip})[0]
        np.testing.assert_array_equal(np.load(tmp_path / "features" / f"{place}.npy"), expected)


def test_an_open_shape_before_the_front_end(tmp_path):
    """The first size may be a batch, and one clip is then one of it; what the front end refuses is told."""
    path = sound(tmp_path, frames="open")
    refused("MODEL_RUN", lambda: convert(tmp_path, path))
    result = convert(tmp_path, path, shapes={"x": [RATE, 1]})
    assert result["frontEnd"]["takes"] == "samples"


def test_rows_of_one_file_keep_their_order():
    from dopt.doors.tensorflow.front_end import feature_file

    names = [feature_file(f"x.npy#{row}") for row in range(12)]
    assert names == sorted(names) and len(set(names)) == 12
    assert feature_file("a/b.wav") == "a/b.npy" and feature_file("c#.wav") == "c#.npy"


def test_text_that_no_audio_front_end_takes(tmp_path):
    with tf.Graph().as_default() as graph:
        data = tf.compat.v1.placeholder(tf.string, [], name="jpeg")
        picture = tf.cast(tf.image.resize(tf.io.decode_jpeg(data, channels=3), [8, 8]), tf.float32)
        tf.identity(tf.nn.conv2d(picture[None], constant(3, 3, 3, 4), 1, "SAME"), name="out")
    error = refused("MODEL_OPERATORS", lambda: convert(tmp_path, write_graph(tmp_path, graph.as_graph_def())))
    assert "'jpeg'" in error.message


def test_unknown_operators_in_two_places_are_no_front_end(tmp_path):
    def build(x):
        left = tf.math.lgamma(tf.nn.relu(x) + 1.0)
        right = tf.math.lgamma(tf.nn.relu(-x) + 1.0)
        return left @ constant(4, 3) + right @ constant(4, 3, seed=1)

    with pytest.raises(DoptError) as caught:
        convert(tmp_path, frozen(tmp_path, build, 1, 4))
    assert caught.value.code == "MODEL_OPERATORS" and "Lgamma" in caught.value.message


def test_a_real_keyword_network(assets, tmp_path):
    path = assets / "models" / "tensorflow" / "dnn-s.pb"
    result = convert(tmp_path, path)
    assert result["inputs"] == [{"name": "Mfcc", "frameworkName": "Mfcc:0"}]
    assert result["outputs"] == [{"name": "labels_softmax", "frameworkName": "labels_softmax:0"}]
    assert result["parity"]["maxRelativeDifference"] < 1e-4
