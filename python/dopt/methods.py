"""Every method that TypeScript can ask for, by name; the other half of src/bridge/protocol.ts.

A method is a function ``(params: dict, events: dopt.events.Events) -> dict``. Its parameters were validated against the
schema in protocol.ts before they were sent, and its result is validated when it arrives, so keys are camelCase on both
ways. It raises ``dopt.errors.DoptError`` for what it can explain. Modules are imported when their method is called.
"""

import importlib
from typing import Any, Callable, Dict

from dopt.errors import DoptError
from dopt.events import Events

Method = Callable[[Dict[str, Any], Events], Dict[str, Any]]

METHODS = {
    "probe": "dopt.probe:probe",
    "gpus": "dopt.gpu:gpus",
    "capture": "dopt.capture.onnx:capture",
    "convert": "dopt.doors:convert",
    "checkParity": "dopt.doors:check_parity",
    "computeFeatures": "dopt.doors:compute_features",
    "runFramework": "dopt.doors:run_framework",
    "writeBack": "dopt.doors:write_back",
    "rewrite": "dopt.apply.onnx:rewrite",
    "reweight": "dopt.apply.reweight:reweight",
    "listSamples": "dopt.data.source:list_samples",
    "materialize": "dopt.data.materialize:materialize",
    "observe": "dopt.execute.observe:observe",
    "observeChannels": "dopt.execute.channels:observe_channels",
    "profile": "dopt.execute.profile:profile",
    "sensitivity": "dopt.execute.sensitivity:sensitivity",
    "compareSamples": "dopt.execute.sensitivity:compare_samples",
    "compareRewrites": "dopt.execute.candidates:compare_rewrites",
    "refine": "dopt.execute.refine:refine",
    "llmInspect": "dopt.llm.inspect:inspect",
    "llmQuantize": "dopt.llm.quantize:quantize",
    "llmRanges": "dopt.llm.ranges:ranges",
    "llmEvaluate": "dopt.llm.evaluate:evaluate",
    "llmGenerate": "dopt.llm.generate:generate",
    "llmDistil": "dopt.llm.distil:distil",
    "llmExport": "dopt.llm.export:export",
    "checkMetric": "dopt.metric.run:check_metric",
    "nasDescribe": "dopt.nas.methods:describe",
    "nasTrain": "dopt.nas.methods:train",
    "nasScore": "dopt.nas.methods:score",
    "nasPicture": "dopt.nas.board:picture",
    "nasRetrain": "dopt.nas.methods:retrain",
    "pluginCheck": "dopt.plugin.probe:plugin_check",
    "userMetric": "dopt.metric.run:user_metric",
}


def resolve(name: str) -> Method:
    """Imports the module of a method and returns its function.

    Raises DoptError(METHOD_UNKNOWN, bug) for a name that is not registered; an ImportError passes through.
    """
    target = METHODS.get(name)
    if target is None:
        raise DoptError("METHOD_UNKNOWN", f"No Python method is called {name!r}; known: {', '.join(METHODS)}.", kind="bug")
    module, _, function = target.partition(":")
    return getattr(importlib.import_module(module), function)
