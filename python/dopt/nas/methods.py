"""The methods of a search by the framework that the scenario names; results are those of src/bridge/protocol.ts."""

import importlib
import os
from typing import Any, Dict


def describe(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``nasDescribe``."""
    return _part(params, "search").describe(params, events)


def train(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``nasTrain``."""
    return _part(params, "train").train(params, events)


def score(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``nasScore``."""
    return _part(params, "search").score(params, events)


def retrain(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``nasRetrain``."""
    return _part(params, "retrain").retrain(params, events)


def _part(params: Dict[str, Any], part: str) -> Any:
    framework = {"PyTorch": "torch", "TensorFlow": "tensorflow"}[params["framework"]]
    if framework == "tensorflow":
        # Before it is loaded: it prints what it can do with the processor, and version 2.8 uses oneDNN, with which training
        # on a processor takes half the time, only where it is asked to.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    return importlib.import_module(f"dopt.nas.{framework}_{part}")
