"""Damaged TensorFlow models: the door answers each with a conversion or a DoptError, in the process that a command starts for it.

TensorFlow is C++ that ends its process on some damaged graphs (a failed CHECK), and HDF5 is C that goes round in circles on some
damaged files. A command then says so and ends, as with any program of others that fails: it notices both, the second by heartbeats
that do not come. What must not come is an answer that is a fault of ours, or none while Python is alive.
"""

import json
import os
import select
import shutil
import subprocess
import sys

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="needs TensorFlow (profile tensorflow)")
pytest.importorskip("tf2onnx", reason="needs tf2onnx (profile tensorflow)")

from doorway import frozen, keras_file, model_params, saved_model  # noqa: E402
from fuzzing import damaged_bytes, damaged_json, fuzz  # noqa: E402
from write_back_graphs import constant  # noqa: E402

from dopt.errors import DoptError  # noqa: E402

_EVIL = [0, -1, 1, 2, 7, 1 << 31, (1 << 63) - 1, -(1 << 63), 1 << 40]
_OPERATORS = ["Conv2D", "MatMul", "Reshape", "Identity", "If", "While", "Placeholder", "Const", "VariableV2", "WriteFile", "Nonsense"]


#: Seconds without a heartbeat, which comes every second, after which a process hangs; a command waits longer.
SILENT = 20


class Job:
    """A process of ``dopt.job`` that is asked for one conversion after the other, and started again when it has died."""

    def __init__(self, folder):
        self._folder, self._process, self._spent, self._text = folder, None, 0.0, b""

    def convert(self, path):
        """The result of ``convert``. Raises DoptError, and AssertionError for an answer that is a fault of ours."""
        if self._process is None:
            self._start()
        out = self._folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        params = {**model_params(path), "out": str(out), "seed": 0}
        self._process.stdin.write(json.dumps({"method": "convert", "params": params}).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._answer()
        if isinstance(answer, str):
            self._spent += self._used()
            self.close()
            raise DoptError(answer, f"at {path}", kind="external")
        if answer["ok"]:
            return answer["value"]
        error = answer["error"]
        assert error["type"] in ("DoptError", "MemoryError"), error["traceback"][-3000:]
        raise DoptError(error["code"], error["message"], kind=error["kind"])

    def _start(self):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "3", "DOPT_HEARTBEAT_SECONDS": "1"}
        command = [sys.executable, "-m", "dopt.job", "--serve"]
        pipe = subprocess.PIPE
        self._text = b""
        self._process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)

    def _answer(self):
        """The envelope, or what became of the process: DIED of a signal, or HUNG in code that lets no other thread run."""
        stream = self._process.stdout.fileno()
        while True:
            while b"\n" in self._text:
                line, self._text = self._text.split(b"\n", 1)
                try:
                    event = json.loads(line)
                except ValueError:  # a framework's own words
                    continue
                if isinstance(event, dict) and event.get("type") == "answer":
                    return event["envelope"]
            if not select.select([stream], [], [], SILENT)[0]:
                return "HUNG"
            part = os.read(stream, 1 << 16)
            if not part:
                status = self._process.wait()
                assert status < 0, f"the process ended with status {status}"
                return "DIED"
            self._text += part

    def _used(self):
        try:
            with open(f"/proc/{self._process.pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def used(self):
        """Processor seconds of all processes so far."""
        return self._spent + (self._used() if self._process else 0.0)

    def close(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def job(tmp_path):
    started = Job(tmp_path)
    # What is slow the first time, imports and tracing, belongs to no case.
    started.convert(frozen(tmp_path, _network, 1, 8, 8, 3, name="first.pb"))
    yield started
    started.close()


def _network(x):
    y = tf.nn.relu(tf.nn.conv2d(x, constant(3, 3, 3, 4), 2, "SAME"))
    y = tf.nn.avg_pool2d(tf.nn.bias_add(y, constant(4)), 2, 2, "VALID")
    return tf.nn.softmax(tf.matmul(tf.reshape(y, [-1, 16]), constant(16, 5)))


def _keras():
    x = tf.keras.Input((8, 8, 3), name="picture")
    y = tf.keras.layers.BatchNormalization()(tf.keras.layers.Conv2D(4, 3, use_bias=False)(x))
    return tf.keras.Model(x, tf.keras.layers.Dense(3)(tf.keras.layers.GlobalAveragePooling2D()(tf.keras.layers.ReLU()(y))))


def _damaged_graph(rng, graph_def):
    """A GraphDef with one to three fields set to other values, or with damaged bytes."""
    if rng.random() < 0.3:
        return damaged_bytes(rng, [graph_def.SerializeToString()])
    twin = type(graph_def)()
    twin.CopyFrom(graph_def)
    for _ in range(rng.integers(1, 4)):
        _damage_node(rng, twin)
    return twin.SerializeToString()


def _damage_node(rng, graph_def):
    node = graph_def.node[rng.integers(len(graph_def.node))]
    number = _EVIL[rng.integers(len(_EVIL))]
    kind = rng.integers(8)
    attribute = node.attr[sorted(node.attr)[rng.integers(len(node.attr))]] if node.attr else None
    if kind == 0 and node.input:
        del node.input[int(rng.integers(len(node.input)))]
    elif kind == 1 and node.input:
        other = graph_def.node[rng.integers(len(graph_def.node))].name
        node.input[int(rng.integers(len(node.input)))] = [other, f"{other}:3", f"^{other}", ""][rng.integers(4)]
    elif kind == 2:
        node.op = _OPERATORS[rng.integers(len(_OPERATORS))]
    elif kind == 3:
        node.name = ["", "x", graph_def.node[rng.integers(len(graph_def.node))].name, "a b"][rng.integers(4)]
    elif attribute is None:
        return
    elif attribute.HasField("tensor"):
        _damage_tensor(rng, attribute.tensor, number)
    elif attribute.HasField("shape") and attribute.shape.dim:
        attribute.shape.dim[int(rng.integers(len(attribute.shape.dim)))].size = number
    elif attribute.HasField("list") and attribute.list.i:
        attribute.list.i[int(rng.integers(len(attribute.list.i)))] = number
    elif attribute.HasField("type"):
        attribute.type = int(rng.integers(0, 25))
    elif kind == 4:
        attribute.i = number
    elif kind == 5:
        attribute.s = b"NCHW"
    else:
        attribute.Clear()


def _damage_tensor(rng, tensor, number):
    if rng.random() < 0.4:
        tensor.dtype = int(rng.integers(0, 25))
    elif tensor.tensor_shape.dim and rng.random() < 0.6:
        tensor.tensor_shape.dim[int(rng.integers(len(tensor.tensor_shape.dim)))].size = number
    else:
        tensor.tensor_content = np.int64(number).tobytes() * (len(tensor.tensor_content) // 8)


def test_frozen_graphs(tmp_path, job):
    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString((tmp_path / "first.pb").read_bytes())
    path = tmp_path / "damaged.pb"

    def read(data):
        path.write_bytes(data)
        job.convert(path)

    outcomes = fuzz("frozen graphs", 40, lambda rng: _damaged_graph(rng, graph_def), read, used=job.used)
    assert outcomes["read"] and len(outcomes) > 2


def test_keras_files(tmp_path, job):
    """Half of the damage is done to the description of the network, half to the bytes of the file."""
    h5py = pytest.importorskip("h5py")
    good, path = keras_file(tmp_path, _keras()), tmp_path / "damaged.h5"
    data = good.read_bytes()
    with h5py.File(good, "r") as file:
        description = json.loads(file.attrs["model_config"])

    def make(rng):
        return damaged_json(rng, [description]) if rng.random() < 0.5 else (damaged_bytes(rng, [data]),)

    def read(damaged):
        if isinstance(damaged, tuple):
            path.write_bytes(damaged[0])
        else:
            shutil.copyfile(good, path)
            with h5py.File(path, "r+") as file:
                file.attrs["model_config"] = damaged.decode("utf-8", "replace").replace("\0", " ")
        job.convert(path)

    outcomes = fuzz("Keras files", 30, make, read, used=job.used)
    assert outcomes["read"] and outcomes["MODEL_DAMAGED"]


def test_saved_models(tmp_path, job):
    good, path = saved_model(tmp_path, _keras()), tmp_path / "damaged"
    files = ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
    contents = {name: (good / name).read_bytes() for name in files}

    def make(rng):
        name = files[rng.choice([0, 0, 1, 2])]
        return name, damaged_bytes(rng, [contents[name]])

    def read(damaged):
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(good, path)
        (path / damaged[0]).write_bytes(damaged[1])
        job.convert(path)

    outcomes = fuzz("SavedModels", 20, make, read, used=job.used)
    assert outcomes["MODEL_DAMAGED"]
