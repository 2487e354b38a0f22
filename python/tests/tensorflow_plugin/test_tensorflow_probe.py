"""dopt plugin check on programs of TensorFlow."""

from pathlib import Path

import pytest

KERAS = """
import sys
sys.path.insert(0, {tests!r})
import numpy as np, tensorflow as tf, keras_networks, dopt.tf
quantized = dopt.tf.prepare(*keras_networks.network("subclassed"))
quantized.compile("sgd", "mse")
quantized.fit(np.zeros([2000, 12, 12, 3], "f"), np.zeros([2000, 3], "f"), 1, verbose=0)
raise SystemExit("never reached")
"""
SESSION = """
import tensorflow.compat.v1 as tf, numpy as np
import dopt.dopt_tf.opt_main as dopt
with tf.Graph().as_default():
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    y = tf.layers.dense(x, 2, name="fc")
    sess = tf.Session()
    sess.run(tf.global_variables_initializer())
    dopt.generate_config_file(sess, {config!r})
    dopt.optimize_model(sess, {config!r}, True, 1)
    for _ in range(1000):
        sess.run(y, {{x: np.ones([1, 3])}})
raise SystemExit("never reached")
"""


@pytest.mark.parametrize("text", [KERAS, SESSION])
def test_a_project_is_run_for_a_few_steps_and_told_about(text, tmp_path):
    from dopt.events import Events
    from dopt.plugin.probe import plugin_check

    script = tmp_path / "train.py"
    script.write_text(text.format(tests=str(Path(__file__).resolve().parent), config=str(tmp_path / "c.json")))
    found = plugin_check({"script": str(script), "arguments": [], "steps": 3}, Events())
    assert (found["steps"], found["ended"]) == (3, "stopped")
    (described,) = found["networks"]
    if text is SESSION:
        assert described == {"network": "graph", "captured": {"fc/MatMul": "int8-8"}, "float": []}
    else:
        assert set(described["captured"]) == {"first", "block/conv", "fc"}
        assert [each["name"] for each in described["float"]] == ["gate"]
