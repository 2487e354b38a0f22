"""Several rewritten forms of one model against the model itself, sample by sample."""

import os
from typing import Any, Dict, List


def compare_rewrites(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``compareRewrites`` of src/bridge/protocol.ts. The forms are run as their files say and then removed."""
    from dopt.apply.onnx import rewrite
    from dopt.data.source import open_source
    from dopt.events import Events
    from dopt.execute.parts import Network
    from dopt.execute.sensitivity import squared_error

    model, threads = params["model"], params["threads"]
    reference = Network(model, threads, exact=False)
    names = [name for name in reference.outputs if name in reference.producer]
    forms = []
    for index, edits in enumerate(params["rewrites"]):
        path = os.path.join(params["out"], f"candidate-{index}.onnx")
        rewrite({"model": model, **edits, "out": path, "externalDataAbove": None, "check": "none"}, Events())
        forms.append(Network(path, threads, exact=True))
        for file in (path, f"{path}.data"):
            if os.path.exists(file):
                os.remove(file)
    source = open_source(params["source"])
    runs: List[Any] = []
    signal: List[List[float]] = []
    noise: List[List[List[float]]] = [[] for _ in forms]
    for sample in source:
        runs = runs or [network.part(names, sample.feeds) for network in (reference, *forms)]
        expected, *found = [part.run(sample.feeds) for part in runs]
        signal.append([squared_error(array, array)[0] for array in expected])
        for rows, arrays in zip(noise, found):
            rows.append([squared_error(a, b)[1] for a, b in zip(expected, arrays)])
        events.progress(len(signal), len(source), sample.name)
    return {"signal": signal, "noise": noise}
