"""A metric of the user's: what evaluate() gets, what it may return, and how its mistakes are told."""

import textwrap

import numpy as np
import pytest

from dopt.errors import DoptError
from dopt.events import Events
from dopt.metric.run import check_metric, user_metric
from dopt.metric.sequences import Lazy, labels_of


@pytest.fixture
def metric(tmp_path):
    """Writes a metric file and runs it over outputs, one array or dictionary of arrays a sample."""

    def run(code, outputs=(), labels=None, resampling=None, patience=60.0):
        path = tmp_path / "own.py"
        path.write_text(textwrap.dedent(code))
        samples = []
        for index, output in enumerate(outputs):
            arrays = output if isinstance(output, dict) else {"y": output}
            tensors = {}
            for name, array in arrays.items():
                file = tmp_path / f"{index}.{name}.raw"
                array.tofile(file)
                tensors[name] = {"path": str(file), "dtype": array.dtype.name, "shape": list(array.shape)}
            samples.append({"name": f"{index}.png", "tensors": tensors})
        params = {"file": str(path), "patience": patience}
        if not samples:
            return check_metric(params, Events())
        more = {"model": "float", "samples": samples, "labels": labels, "resampling": resampling}
        return user_metric({**params, **more}, Events())

    run.path = str(tmp_path / "own.py")
    return run


ROWS = [np.array([[1, 0]], np.float32), np.array([[0, 1]], np.float32), np.array([[3, 2]], np.float32)]
ACCURACY = """
    import numpy as np
    def evaluate(outputs, labels):
        return np.mean([o.argmax() == l for o, l in zip(outputs, labels)])
"""


def test_a_number_bears_the_name_of_the_file(metric):
    result = metric(ACCURACY, ROWS, {"values": [0, 1, 1]})
    assert result["scores"] == [{"name": "own", "value": pytest.approx(2 / 3), "better": "higher"}]
    assert result["replicates"] is None and result["reason"] is None


def test_a_dictionary_gives_several_scores_some_of_which_shall_be_low(metric):
    code = """
        lower_is_better = ["loss"]
        def evaluate(outputs, labels):
            return {"loss": 1, "names": len(outputs.names), "first": outputs[0][0, 0]}
    """
    scores = metric(code, ROWS)["scores"]
    assert [(s["name"], s["value"], s["better"]) for s in scores] == [
        ("loss", 1.0, "lower"),
        ("names", 3.0, "higher"),
        ("first", 1.0, "higher"),
    ]
    assert metric("lower_is_better = True\ndef evaluate(o, l): return 2\n", ROWS)["scores"][0]["better"] == "lower"


def test_outputs_are_read_when_they_are_asked_for(metric):
    code = """
        import numpy as np
        def evaluate(outputs, labels):
            assert labels is None
            assert outputs[0] is not outputs[0]
            assert outputs[-1].tolist() == [[3, 2]]
            assert [o.shape for o in outputs[1:]] == [(1, 2)] * 2
            assert outputs[1:].names == ["1.png", "2.png"]
            assert repr(outputs) == "<3 items, read when asked for>"
            return np.asarray(outputs).sum()
    """
    assert metric(code, ROWS)["scores"][0]["value"] == 7.0


@pytest.mark.parametrize("kept", [0, 2**20])
def test_what_a_metric_changes_in_place_stays_with_it(metric, monkeypatch, kept):
    monkeypatch.setattr("dopt.metric.sequences._KEPT_BYTES", kept)
    code = """
        def evaluate(outputs, labels):
            outputs[0][:] = 100
            return sum(float(o.sum()) for o in outputs)
    """
    assert metric(code, ROWS)["scores"][0]["value"] == 7.0


def test_several_outputs_are_a_dictionary_of_any_type(metric):
    code = """
        def evaluate(outputs, labels):
            return sum(float(o["a"].sum()) + int(o["b"][0]) for o in outputs)
    """
    outputs = [{"a": np.array([0.5], np.float16), "b": np.array([2], np.int64)}] * 2
    assert metric(code, outputs)["scores"][0]["value"] == 5.0


def test_labels_are_values_paths_or_rows(tmp_path):
    assert labels_of({"values": [1, "x", None]}) == [1, "x", None]
    assert labels_of({"files": ["/a", "/b"]}) == ["/a", "/b"]
    path = tmp_path / "labels.npy"
    np.save(path, np.arange(12).reshape(4, 3))
    rows = labels_of({"array": str(path), "rows": [3, 0]})
    assert [row.tolist() for row in rows] == [[9, 10, 11], [0, 1, 2]]
    np.save(path, np.array([5, 6, 7]))
    scalars = labels_of({"array": str(path), "rows": [2, 1]})
    assert [int(row) for row in scalars] == [7, 6]
    assert np.asarray(scalars).tolist() == [7, 6]


def test_sequences_without_arrays_are_no_array():
    with pytest.raises(TypeError, match="several outputs"):
        np.asarray(Lazy(lambda i: {"a": i}, [0, 1]))


def test_draws_are_the_same_for_two_models_and_silent(metric, capsys):
    resampling = {"rounds": 50, "seed": 3, "seconds": 60.0}
    code = """
        import numpy as np
        def evaluate(outputs, labels):
            print("called")
            return {"sum": np.asarray(outputs).sum(), "labels": sum(labels)}
    """
    rows = [np.array([[i]], np.float32) for i in range(20)]
    first = metric(code, rows, {"values": list(range(20))}, resampling)
    second = metric(code, rows, {"values": list(range(20))}, resampling)
    assert first["replicates"] == second["replicates"]
    assert len(first["replicates"]) == 50
    # Outputs and labels are drawn together.
    assert all(a == b for a, b in first["replicates"])
    assert np.std([a for a, _ in first["replicates"]]) > 10
    assert capsys.readouterr().out.count("called") == 2


def test_draws_are_given_up_when_they_take_long_or_fail(metric):
    slow = "import time\ndef evaluate(o, l):\n    time.sleep(0.05)\n    return 1\n"
    result = metric(slow, ROWS, None, {"rounds": 200, "seed": 1, "seconds": 1.0})
    assert result["replicates"] is None and "200 are needed" in result["reason"]
    strict = "def evaluate(o, l):\n    assert len(set(o.names)) == 3\n    return 1\n"
    result = metric(strict, ROWS, None, {"rounds": 200, "seed": 1, "seconds": 60.0})
    assert result["scores"][0]["value"] == 1.0
    assert result["replicates"] is None and "AssertionError" in result["reason"]


@pytest.mark.parametrize(
    "code, error, line, found",
    [
        ("def evaluate(o, l):\n    return 1 / 0\n", "METRIC_FAILED", 2, "ZeroDivisionError: division by zero"),
        ("def help(o):\n    raise KeyError('k')\n\ndef evaluate(o, l):\n    return help(o)\n", "METRIC_FAILED", 2, "return help(o)"),
        ("import sys\ndef evaluate(o, l):\n    sys.exit(3)\n", "METRIC_FAILED", 3, "SystemExit: 3"),
        ("x = 1\nimport json\njson.loads('{')\n", "METRIC_FAILED", 3, "JSONDecodeError"),
        ("def evaluate(o, l)\n", "METRIC_FAILED", 1, "SyntaxError"),
        ("import no_such_package.part\n", "METRIC_IMPORT", 1, "no_such_package"),
        ("from numpy import no_such_name\n", "METRIC_FAILED", 1, "cannot import name"),
    ],
)
def test_mistakes_show_the_line_and_the_end_of_the_traceback(metric, code, error, line, found):
    with pytest.raises(DoptError) as caught:
        metric(code, ROWS)
    assert caught.value.code == error and caught.value.kind == "user"
    assert caught.value.place == f"{metric.path}:{line}"
    assert found in caught.value.found
    assert "dopt/metric/run.py" not in caught.value.found
    assert caught.value.suggestions


@pytest.mark.parametrize("code", ["", "evaluate = 3\n"])
def test_a_file_without_evaluate_is_refused_before_any_work(metric, code):
    with pytest.raises(DoptError, match="no function evaluate") as caught:
        metric(code)
    assert caught.value.code == "METRIC_NO_EVALUATE"


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DoptError) as caught:
        check_metric({"file": str(tmp_path / "none.py"), "patience": 1.0}, Events())
    assert caught.value.code == "METRIC_NOT_FOUND"


@pytest.mark.parametrize(
    "result, found",
    [
        ("float('nan')", "float nan"),
        ("float('-inf')", "float -inf"),
        ("'0.9'", "str '0.9'"),
        ("None", "NoneType None"),
        ("True", "bool True"),
        ("[0.5]", "list [0.5]"),
        ("{}", "dict {}"),
        ("{'a': 1, 'b': 'x'}", "str 'x'"),
        ("__import__('numpy').zeros(2)", "ndarray array([0., 0.])"),
    ],
)
def test_what_is_no_finite_number_is_shown(metric, result, found):
    with pytest.raises(DoptError) as caught:
        metric(f"def evaluate(o, l):\n    return {result}\n", ROWS)
    assert caught.value.code == "METRIC_RESULT"
    assert caught.value.found == found


def test_numpy_scalars_are_numbers(metric):
    for result in ("numpy.float32(0.5)", "numpy.array(0.5)", "numpy.mean([0, 1])"):
        code = f"import numpy\ndef evaluate(o, l):\n    return {result}\n"
        assert metric(code, ROWS)["scores"][0]["value"] == 0.5


def test_modules_beside_the_file_are_found_and_nothing_is_left_there(metric, tmp_path):
    (tmp_path / "helper_of_own.py").write_text("def value(): return 4\n")
    code = "import helper_of_own\ndef evaluate(o, l):\n    return helper_of_own.value()\n"
    assert metric(code, ROWS)["scores"][0]["value"] == 4.0
    assert not (tmp_path / "__pycache__").exists()
