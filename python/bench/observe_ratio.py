"""Observation against plain float inference of the same samples in the same executor: ``observe_ratio.py job.json``.

job.json holds the params of the method ``observe`` plus ``repeats``. Both runs take the preprocessed samples from
memory, turn and turn about, so that a busy machine slows both. Prints one JSON object with medians in seconds a sample:
``plain`` (onnxruntime's defaults with the same number of threads), ``observed``, and ``ratio``.
"""

import json
import statistics
import sys
import time


def main(path):
    """Measures the job and prints the result."""
    import onnxruntime

    from dopt import native
    from dopt.data.source import open_source
    from dopt.execute.observer import Observer, session_threads
    from dopt.execute.session import open_inner

    with open(path, encoding="utf-8") as file:
        job = json.load(file)
    samples = list(open_source(job["source"]))
    core = native.load()
    core.set_threads(session_threads(job["threads"]))
    inner = open_inner(job["model"], list(dict.fromkeys(job["tensors"])), session_threads(job["threads"]))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job["threads"]
    options.log_severity_level = 3
    plain_session = onnxruntime.InferenceSession(job["model"], options, providers=["CPUExecutionProvider"])

    def plain():
        for sample in samples:
            plain_session.run(None, sample.feeds)


    def observed():
        observer = Observer(core, [inner], job["bins"], job["threads"])
        for sample in samples:
            observer.add(sample.name, sample.feeds)
        observer.finish()

    plain(), observed()
    times = [(seconds(plain), seconds(observed)) for _ in range(job["repeats"])]
    each = [statistics.median(column) / len(samples) for column in zip(*times)]
    result = {
        "samples": len(samples),
        "tensors": len(inner.inputs) + len(inner.outputs),
        "plain": each[0],
        "observed": each[1],
        "ratio": each[1] / each[0],
        "ratios": [round(b / a, 3) for a, b in times],
    }
    print(json.dumps(result))


def seconds(work):
    """Wall-clock seconds that one call takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main(sys.argv[1])
