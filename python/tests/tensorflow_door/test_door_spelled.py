"""Operators that tf2onnx lacks or gets wrong: the door converts them and finds the numbers of TensorFlow, for any batch."""

import pytest

tf = pytest.importorskip("tensorflow", reason="needs TensorFlow (profile tensorflow)")
pytest.importorskip("tf2onnx", reason="needs tf2onnx (profile tensorflow)")

from doorway import convert, frozen, operators, refused  # noqa: E402
from dopt.doors.tensorflow.spelled import SPELLINGS  # noqa: E402

positive = lambda x: tf.abs(x) + 0.1  # noqa: E731
bounds = lambda x: tf.constant([[-1.0, 0.0, 1.0]]) + 0.0 * x[:, 0, 0, :1]  # noqa: E731
v1 = tf.compat.v1.image

CASES = {
    "Log1p": lambda x: tf.math.log1p(positive(x)),
    "Expm1": tf.math.expm1,
    "Erfc": tf.math.erfc,
    "Xlogy": lambda x: tf.math.xlogy(tf.nn.relu(x), positive(x)),
    "Xdivy": lambda x: tf.math.xdivy(tf.nn.relu(x), x),
    "MulNoNan": lambda x: tf.math.multiply_no_nan(1.0 / x, tf.nn.relu(x)),
    "L2Loss": lambda x: x * tf.nn.l2_loss(tf.ones((2, 3))),
    "EuclideanNorm": lambda x: tf.math.reduce_euclidean_norm(x, [1, 2], keepdims=True),
    "Cross": lambda x: tf.linalg.cross(x[..., :3], x[..., 3:]),
    "Bucketize": lambda x: tf.cast(tf.raw_ops.Bucketize(input=x, boundaries=[-1.0, 0.0, 1.0]), tf.float32),
    "LowerBound": lambda x: tf.cast(tf.searchsorted(bounds(x), x[:, 0, 0]), tf.float32),
    "UpperBound": lambda x: tf.cast(tf.searchsorted(bounds(x), tf.round(x[:, 0, 0]), side="right"), tf.float32),
    "ExtractImagePatches": lambda x: tf.image.extract_patches(x, [1, 4, 3, 1], [1, 4, 3, 1], [1, 1, 1, 1], "VALID"),
    "patches at the border": lambda x: tf.image.extract_patches(x, [1, 3, 3, 1], [1, 3, 3, 1], [1, 1, 1, 1], "SAME"),
    "patches over each other": lambda x: tf.image.extract_patches(x, [1, 3, 2, 1], [1, 2, 1, 1], [1, 1, 2, 1], "SAME"),
    "ResizeArea": lambda x: v1.resize_area(x, (3, 7)),
    "ResizeBicubic": lambda x: v1.resize_bicubic(x, (11, 5)),
    "bicubic at corners": lambda x: v1.resize_bicubic(x, (11, 5), align_corners=True),
    "bicubic of TensorFlow 2": lambda x: tf.image.resize(x, (11, 5), "bicubic"),
    "ScaleAndTranslate": lambda x: tf.image.resize(x, (11, 5), "lanczos3"),
    "antialiased": lambda x: tf.image.resize(x, (4, 5), antialias=True),
    "gaussian": lambda x: tf.image.resize(x, (11, 5), "gaussian"),
}


@pytest.mark.parametrize("name", CASES)
def test_conversion(tmp_path, name):
    # Values of both signs, bounded, that depend on the input: nothing is folded away.
    path = frozen(tmp_path, lambda x: CASES[name](tf.nn.relu6(x) - tf.nn.relu6(-x)), None, 8, 9, 6)
    result = convert(tmp_path, path)
    assert result["parity"]["samples"] == 4 and result["parity"]["maxRelativeDifference"] < 1e-4
    assert not any("batch" in note for note in result["notes"])
    assert not set(operators(result)) & set(SPELLINGS)


def test_every_spelling_has_a_case():
    assert set(SPELLINGS) <= set(CASES)


def test_a_resizing_to_a_size_that_is_computed_stays(tmp_path):
    """Its matrix is not known beforehand. tf2onnx writes another resizing, which the comparison with TensorFlow finds."""
    path = frozen(tmp_path, lambda x: v1.resize_bicubic(x, tf.cast(tf.abs(x[0, 0, 0, :2]) + 3.0, tf.int32)), 1, 8, 9, 6)
    error = refused("PARITY_FAILED", lambda: convert(tmp_path, path))
    assert "out" in error.message
