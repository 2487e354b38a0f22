"""Where a weights file keeps its quantization: beside the module versions that torch puts into every state dict.

torch.load gives it back and load_state_dict passes over it, strict or not, so the file has the form of the user's own: a
plain state dict stays one, a wrapped one keeps its wrapper.
"""

import json
from typing import Any, Dict, Optional

#: Key among the module versions; a module of this name would have to be called ``dopt``.
ENTRY = "dopt"


def attach(state: Any, quantization: Dict[str, Any]) -> None:
    """Puts a quantization into a state dict (an OrderedDict with or without ``_metadata``)."""
    from collections import OrderedDict

    metadata = OrderedDict(getattr(state, "_metadata", {}))
    metadata[ENTRY] = {"version": quantization["version"], "quantization": json.dumps(quantization, sort_keys=True)}
    state._metadata = metadata


def detach(state: Any) -> Optional[Dict[str, Any]]:
    """The quantization in a state dict, None when there is none. Raises ValueError for damaged text."""
    text = getattr(state, "_metadata", {}).get(ENTRY, {}).get("quantization")
    if text is None:
        return None
    value = json.loads(text)
    if not isinstance(value, dict) or not isinstance(value.get("inputs"), dict):
        raise ValueError("it is no object with inputs")
    return value
