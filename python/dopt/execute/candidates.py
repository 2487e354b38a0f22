"""Several rewritten forms of one model against the model itself, sample by sample."""

import os
from typing import Any, Dict, List, Tuple


def compare_rewrites(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``compareRewrites`` of src/bridge/protocol.ts. The forms are run as their files say and then removed.

    Memory: one figure a channel of the outputs for each form and sample.
    """
    from dopt.apply.onnx import rewrite
    from dopt.data.source import open_source
    from dopt.events import Events
    from dopt.execute.parts import Network
    from dopt.execute.sensitivity import squared_error
    from dopt.execute.session import executor_of

    model, threads, executor = params["model"], params["threads"], executor_of(params)
    reference = Network(model, threads, exact=False, executor=executor)
    names = [name for name in reference.outputs if name in reference.producer]
    forms = []
    for index, edits in enumerate(params["rewrites"]):
        path = os.path.join(params["out"], f"candidate-{index}.onnx")
        rewrite({"model": model, **edits, "out": path, "externalDataAbove": None, "check": "none"}, Events())
        forms.append(Network(path, threads, exact=True, executor=executor))
        for file in (path, f"{path}.data"):
            if os.path.exists(file):
                os.remove(file)
    source = open_source(params["source"])
    runs: List[Any] = []
    signal: List[List[float]] = []
    errors: List[List[List[Error]]] = [[] for _ in forms]
    for sample in source:
        runs = runs or [network.part(names, sample.feeds) for network in (reference, *forms)]
        expected, *found = [part.run(sample.feeds) for part in runs]
        signal.append([squared_error(array, array)[0] for array in expected])
        for rows, arrays in zip(errors, found):
            rows.append([error_of(a, b) for a, b in zip(expected, arrays)])
        events.progress(len(signal), len(source), sample.name)
    noise = [without_means(rows) if params["withoutMeans"] else [[e[0] for e in row] for row in rows] for rows in errors]
    return {"signal": signal, "noise": noise}


#: Squared error of one array, the sum of the error in each channel, and how many elements a channel has.
Error = Tuple[float, Any, int]


def error_of(expected: Any, found: Any) -> Error:
    """The error of an output. Channels lie on axis 1 of four and more dimensions, else on the last one."""
    import numpy as np
    from dopt.execute.sensitivity import squared_error

    noise = squared_error(expected, found)[1]
    if expected.dtype.kind != "f" or expected.ndim == 0 or expected.shape != found.shape:
        return noise, np.zeros(1), 1
    axis = 1 if expected.ndim > 3 else expected.ndim - 1
    difference = np.moveaxis(found.astype(np.float64) - expected, axis, 0)
    sums = np.where(np.isfinite(difference), difference, 0).reshape(len(difference), -1).sum(axis=1)
    return noise, sums, expected.size // max(1, len(sums))


def without_means(rows: List[List[Error]]) -> List[List[float]]:
    """Squared errors by sample and output, the mean error of each channel over all samples left out.

    Means that bias correction will take out do not tell forms apart. Outputs whose channels vary in number keep theirs.
    """
    result = [[error[0] for error in row] for row in rows]
    for output in range(len(rows[0]) if rows else 0):
        column = [row[output] for row in rows]
        if len({error[1].shape for error in column}) > 1:
            continue
        means = sum(error[1] for error in column) / sum(error[2] for error in column)
        for sample, (noise, sums, count) in enumerate(column):
            rest = noise - 2 * float(means @ sums) + count * float(means @ means)
            result[sample][output] = max(0.0, rest)
    return result
