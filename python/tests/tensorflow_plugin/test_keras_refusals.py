"""The mistakes that people make, and what they are told."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import dopt.tf as plugin
from dopt.errors import DoptError


def dense():
    return tf.keras.Sequential([tf.keras.Input([4], name="x"), *(tf.keras.layers.Dense(3, name=name) for name in "ab")])


def refused(code, function, *arguments):
    with pytest.raises(DoptError) as caught:
        function(*arguments)
    assert caught.value.code == code, caught.value.message
    assert caught.value.suggestions
    return caught.value


def test_models_that_cannot_be_prepared(tmp_path):
    model = dense()
    refused("PLUGIN_QUANTIZED", plugin.prepare, plugin.prepare(model, "x:1,4"), "x:1,4")
    refused("PLUGIN_MODEL", plugin.prepare, tf.keras.layers.Dense(3), "x:1,4")
    refused("PLUGIN_INPUTS", plugin.prepare, model, "x:1,4;y:1,4")
    assert "does not fit" in refused("PLUGIN_INPUTS", plugin.prepare, model, "x:1,3,4,4").message
    refused("PLUGIN_INPUT_SHAPE", plugin.prepare, model, "x=1,4")
    refused("PLUGIN_METHOD", plugin.prepare, model, "x:1,4", "Quant_INT8-8", "lsq+")
    settings = str(tmp_path / "settings.json")
    assert [layer.key for layer in plugin.write_settings(model, "x:1,4", settings)] == ["a/Dense", "b/Dense"]
    other = tf.keras.Sequential([tf.keras.Input([4], name="x"), tf.keras.layers.Dense(2, name="c")])
    error = refused("PLUGIN_LAYER_UNKNOWN", plugin.prepare, other, settings)
    assert "'a/Dense'" in error.message
    assert plugin.layers(plugin.prepare(model, settings)) == {"a": "int8-8", "b": "int8-8"}


def test_a_model_of_several_devices_is_quantized_in_their_scope():
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        model = dense()
        assert plugin.prepare(model, "x:1,4")
    assert "scope" in refused("PLUGIN_STRATEGY", plugin.prepare, model, "x:1,4").message


def test_there_is_no_result_without_calibration(tmp_path):
    quantized = plugin.prepare(dense(), "x:1,4")
    assert "a" in refused("PLUGIN_NO_CALIBRATION", plugin.convert, quantized, str(tmp_path / "out")).message
    refused("PLUGIN_NO_CALIBRATION", plugin.calibrate, quantized, [])
    refused("PLUGIN_NO_CALIBRATION", plugin.convert, quantized, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    refused("PLUGIN_NOT_QUANTIZED", plugin.convert, dense(), str(tmp_path / "out"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_stop_calibration_at_their_layer(value):
    model = dense()
    model.get_layer("a").bias.assign([value, 0, 0])
    quantized = plugin.prepare(model, "x:1,4")
    error = refused("PLUGIN_NOT_FINITE", plugin.calibrate, quantized, [np.zeros([2, 4], "f")])
    assert error.place == "b"


def test_importing_loads_no_more_than_tensorflow_and_numpy_in_less_than_a_second():
    code = (
        "import sys, time; import tensorflow as tf, numpy; tf.keras; known = set(sys.modules); start = time.process_time();"
        "import dopt.tf, dopt.dopt_tf.opt_main;"
        "print(time.process_time() - start); assert not {'onnx', 'onnxruntime', 'tf2onnx', 'PIL', 'torch'} & set(sys.modules) - known"
    )
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    assert float(done.stdout) < 1
