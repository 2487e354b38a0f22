"""JSON from files of others: what cannot be read is one kind of exception."""

import json
from typing import Any, Callable, List, Optional, Tuple


def parse(text: str, pairs: Optional[Callable[[List[Tuple[str, Any]]], Any]] = None) -> Any:
    """The value of a JSON text; ``pairs`` makes an object of its members in their order, by default a dict.

    Raises ValueError for whatever is wrong with it, json.JSONDecodeError where a place can be told.
    """
    try:
        return json.loads(text, object_pairs_hook=pairs)
    except RecursionError as error:
        raise ValueError("brackets are nested too deeply") from error
