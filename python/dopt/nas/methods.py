"""The methods of a search by the framework that the scenario names; results are those of src/bridge/protocol.ts."""

from typing import Any, Dict


def describe(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``nasDescribe``."""
    return _of(params).describe(params, events)


def train(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``nasTrain``."""
    return _of(params).train(params, events)


def score(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``nasScore``."""
    return _of(params).score(params, events)


def _of(params: Dict[str, Any]) -> Any:
    if params["framework"] == "TensorFlow":
        from dopt.nas import tensorflow_search

        return tensorflow_search
    from dopt.nas import torch_search

    return torch_search
