"""Jobs as processes: events on descriptor 3, cancellation, exit codes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from dopt import methods
from dopt.errors import Cancelled, DoptError
from dopt.events import Events, StreamEvents

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(methods.__file__)))

FAKE = """
from dopt import methods
methods.METHODS["probe"] = "fake_for_job:act"
"""

METHOD = """
import os, sys, time
def act(params, events):
    print("noise on stdout", flush=True)
    os.write(2, b"noise on stderr\\n")
    events.progress(1, 2, "half")
    if params.get("wait"):
        try:
            open(params["wait"] + ".inside", "w").close()
            time.sleep(60)
        finally:
            open(params["wait"], "w").close()
    if params.get("fail"):
        raise RuntimeError("no")
    return {"done": True}
"""


@pytest.fixture(name="start")
def _start(tmp_path):
    """Starts a job with the parameters given; its events can be read from the second value."""
    (tmp_path / "sitecustomize.py").write_text(FAKE)
    (tmp_path / "fake_for_job.py").write_text(METHOD)
    started = []

    def start(params, text=None):
        file = tmp_path / "job.json"
        file.write_text(json.dumps({"method": "probe", "params": params}) if text is None else text)
        read, write = os.pipe()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), ROOT]), "DOPT_HEARTBEAT_SECONDS": "0.05"}
        child = subprocess.Popen(
            ["bash", "-c", f'exec "$0" -m dopt.job "$1" 3>&{write}', sys.executable, str(file)],
            env=environment,
            pass_fds=[write],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        os.close(write)
        started.append(child)
        return child, os.fdopen(read)

    yield start
    for child in started:
        if child.poll() is None:
            child.kill()
        child.communicate()


def wait_for(path, seconds=10):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.01)


def events_of(stream):
    return [json.loads(line) for line in stream]


def test_events_and_answer_arrive_apart_from_the_noise(start):
    child, stream = start({})
    events = events_of(stream)
    out, err = child.communicate()
    assert child.returncode == 0
    assert events[0]["type"] == "heartbeat"
    assert {"type": "progress", "done": 1.0, "total": 2.0, "message": "half"} in events
    assert events[-1] == {"type": "answer", "envelope": {"ok": True, "value": {"done": True}}}
    assert (out, err) == (b"noise on stdout\n", b"noise on stderr\n")


def test_an_exception_is_an_answer_and_exit_code_1(start):
    child, stream = start({"fail": True})
    answer = events_of(stream)[-1]["envelope"]
    assert child.wait() == 1
    assert answer["error"]["code"] == "PYTHON_EXCEPTION" and "fake_for_job.py" in answer["error"]["traceback"]


def test_a_broken_job_file_is_an_answer(start):
    child, stream = start({}, text="{")
    assert events_of(stream)[-1]["envelope"]["error"]["code"] == "JOB_FILE"
    assert child.wait() == 1


def test_sigterm_unwinds_and_exits_75(start, tmp_path):
    proof = tmp_path / "proof"
    child, stream = start({"wait": str(proof)})
    wait_for(tmp_path / "proof.inside")  # the progress event is too early: reporting it is a point of cancellation
    child.send_signal(signal.SIGTERM)
    answer = events_of(stream)[-1]
    assert child.wait(timeout=5) == 75
    assert answer["envelope"]["error"]["code"] == "CANCELLED"
    assert proof.exists()


def test_sigterm_at_any_moment_after_the_start_exits_75(start, tmp_path):
    for number in range(8):
        child, stream = start({"wait": str(tmp_path / f"proof{number}")})
        while json.loads(stream.readline())["type"] != "progress":
            pass
        child.send_signal(signal.SIGTERM)  # within the report or behind it, as it comes
        events = events_of(stream)
        assert child.wait(timeout=5) == 75
        assert events[-1]["envelope"]["error"]["code"] == "CANCELLED"


def test_heartbeats_go_on_while_the_method_works(start, tmp_path):
    child, stream = start({"wait": str(tmp_path / "proof")})
    beats = 0
    while beats < 5:
        beats += json.loads(stream.readline())["type"] == "heartbeat"
    assert child.poll() is None


def test_a_job_whose_reader_is_gone_ends(start, tmp_path):
    child, stream = start({"wait": str(tmp_path / "proof")})
    stream.readline()
    stream.close()
    assert child.wait(timeout=5) == 75


def test_usage_error_without_a_job_file():
    environment = {**os.environ, "PYTHONPATH": ROOT}
    done = subprocess.run([sys.executable, "-m", "dopt.job"], env=environment, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2 and b"usage" in done.stderr


def test_silent_events_still_stop_a_cancelled_method():
    events = Events()
    events.progress(1, None)
    events.cancel()
    for report in (lambda: events.progress(1, 2), lambda: events.log("info", "x"), events.check_cancelled):
        with pytest.raises(Cancelled):
            report()


def test_log_levels_are_checked():
    with pytest.raises(ValueError):
        Events().log("debug", "x")


def test_messages_can_be_printed_whatever_names_they_tell():
    error = DoptError("MODEL_DAMAGED", "no layer é\ud800")
    assert error.message == str(error) == "no layer é\\ud800"


def test_numbers_of_other_libraries_and_long_messages_are_written_whole():
    read, write = os.pipe()
    stream = StreamEvents(write)

    class Number(float):
        pass

    stream.progress(Number(1), 3, "m" * 20_000)
    os.close(write)
    with os.fdopen(read) as lines:
        assert json.loads(lines.read()) == {"type": "progress", "done": 1.0, "total": 3.0, "message": "m" * 20_000}


def test_an_interrupt_waits_for_the_event_that_is_being_written(monkeypatch):
    read, write = os.pipe()
    stream = StreamEvents(write)
    real = os.write

    def interrupted_write(descriptor, data):
        stream.interrupt()  # as the signal handler does
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", interrupted_write)
    with pytest.raises(Cancelled):
        stream.log("info", "whole")
    os.close(write)
    with os.fdopen(read) as lines:
        assert json.loads(lines.read())["message"] == "whole"
