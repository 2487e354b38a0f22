"""The envelope, the method registry and the entry for short calls."""

import errno
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import types

import pytest

from dopt import envelope, methods, worker
from dopt.errors import Cancelled, DoptError
from dopt.events import Events


@pytest.fixture(name="register")
def _register(monkeypatch):
    """Registers a function as a method for one test."""

    def register(function, name="probe"):
        module = types.ModuleType("fake_for_test")
        module.act = function
        monkeypatch.setitem(sys.modules, "fake_for_test", module)
        monkeypatch.setitem(methods.METHODS, name, "fake_for_test:act")

    return register


def call(params=None, method="probe"):
    return json.loads(worker.invoke(method, json.dumps(params or {})))


def test_result_and_parameters_cross_as_json(register):
    register(lambda params, events: {"echo": params, "silent": isinstance(events, Events)})
    assert call({"a": [1, "ü", None]}) == {"ok": True, "value": {"echo": {"a": [1, "ü", None]}, "silent": True}}


def test_every_registered_method_names_a_module_and_a_function():
    assert all(target.count(":") == 1 and target.startswith("dopt.") for target in methods.METHODS.values())


def test_the_registry_imports_nothing_heavy():
    code = "import sys, dopt.worker, dopt.job; print([m for m in ('numpy', 'onnx', 'onnxruntime', 'PIL') if m in sys.modules])"
    root = os.path.dirname(os.path.dirname(os.path.abspath(methods.__file__)))
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, check=True, text=True)
    assert done.stdout.strip() == "[]"


def test_unknown_method_is_a_bug_that_names_the_known_ones():
    error = call(method="nonsense")["error"]
    assert error["code"] == "METHOD_UNKNOWN" and error["kind"] == "bug" and "capture" in error["message"]


def test_broken_json_is_an_error_and_not_an_exception(register):
    register(lambda params, events: {})
    assert json.loads(worker.invoke("probe", "{"))["error"]["type"] == "JSONDecodeError"


@pytest.mark.parametrize(
    "value, text",
    [
        ({"a": [1.0, float("nan")]}, "result.a[1] is nan"),
        ({"a": {"b": float("-inf")}}, "result.a.b is -inf"),
        ({"a": b"x"}, "result.a is of type builtins.bytes"),
        ({1: 2}, "the key 1"),
        ({"a": {1, 2}}, "builtins.set"),
        (object(), "builtins.object"),
    ],
)
def test_results_without_a_json_form_name_the_key(register, value, text):
    register(lambda params, events: value)
    error = call()["error"]
    assert error["code"] == "PYTHON_BAD_RESULT" and text in error["message"]


def test_own_errors_keep_their_fields(register):
    def fail(_params, _events):
        raise DoptError("X_Y", "what", kind="environment", place="f:1", suggestions=["do"])

    register(fail)
    error = call()["error"]
    traceback = error.pop("traceback")
    assert "in fail" in traceback
    assert error == {
        "type": "DoptError",
        "code": "X_Y",
        "kind": "environment",
        "message": "what",
        "place": "f:1",
        "suggestions": ["do"],
    }


@pytest.mark.parametrize(
    "error, code, kind",
    [
        (MemoryError(), "OUT_OF_MEMORY", "environment"),
        (ImportError("no onnx"), "PYTHON_IMPORT", "environment"),
        (OSError(errno.ENOSPC, "No space left on device", "out.onnx"), "DISK_FULL", "environment"),
        (OSError(errno.EROFS, "Read-only file system", "out.onnx"), "READ_ONLY", "environment"),
        (PermissionError(errno.EACCES, "Permission denied", "out.onnx"), "PERMISSION_DENIED", "environment"),
        (FileNotFoundError(errno.ENOENT, "No such file", "out.onnx"), "PYTHON_EXCEPTION", "external"),
        (RuntimeError("x" * 100_000), "PYTHON_EXCEPTION", "external"),
        (Cancelled(), "CANCELLED", "user"),
    ],
)
def test_other_exceptions_get_a_code_and_a_kind(register, error, code, kind):
    def fail(_params, _events):
        raise error

    register(fail)
    answer = call()["error"]
    assert (answer["code"], answer["kind"]) == (code, kind)
    assert len(answer["traceback"]) <= envelope.TRACEBACK_LIMIT


def test_errors_refuse_a_kind_that_does_not_exist():
    with pytest.raises(ValueError):
        DoptError("X", "x", kind="strange")


def test_sigint_ends_the_call_and_nothing_else(register):
    def wait(_params, events):
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        while True:
            events.check_cancelled()

    register(wait)
    before = signal.signal(signal.SIGINT, worker._interrupt)
    try:
        assert call()["error"]["code"] == "CANCELLED"
        os.kill(os.getpid(), signal.SIGINT)  # between calls: nothing happens
        register(lambda params, events: {})
        assert call() == {"ok": True, "value": {}}
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_method_cannot_swallow_its_cancellation_by_catching_exceptions(register):
    def stubborn(_params, events):
        events.cancel()
        try:
            events.progress(1, 2)
        except Exception:  # pylint: disable=broad-except
            pass
        return {}

    register(stubborn)
    assert call()["error"]["code"] == "CANCELLED"


def test_probe_reports_this_interpreter(monkeypatch):
    monkeypatch.setenv("DOPT_NATIVE_LIB", "/nowhere/libdopt.so")
    value = call()["value"]
    assert value["executable"] == sys.executable
    assert value["packages"]["pytest"] == importlib.import_module("pytest").__version__
    assert value["native"]["loaded"] is False and "libdopt.so" in value["native"]["detail"]
    assert value["broken"] == {}


def test_probe_says_which_modules_cannot_be_imported():
    value = call({"modules": ["json", "no_such_module"]})["value"]
    assert list(value["broken"]) == ["no_such_module"]
    assert "ModuleNotFoundError" in value["broken"]["no_such_module"]
