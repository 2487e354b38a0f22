"""Says what this interpreter is and has."""

import os
import platform
import sys
from typing import Any, Dict, List

from dopt.events import Events


def probe(params: Dict[str, Any], _events: Events) -> Dict[str, Any]:
    """Versions of the interpreter and of every installed package, and whether the native core loads.

    dopt itself is none of them: what runs is the code that was asked, whatever pip has noted beside it.
    """
    from importlib import metadata

    packages = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name and name != "dopt" and distribution.version:
            packages.setdefault(name.lower().replace("_", "-"), distribution.version)
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "packages": dict(sorted(packages.items())),
        "native": _native(),
        "broken": _broken(params.get("modules", [])),
    }


def _broken(modules: List[str]) -> Dict[str, str]:
    """Modules that cannot be imported, with the reason."""
    import importlib

    reasons = {}
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - a broken installation raises anything.
            reasons[name] = f"{type(error).__name__}: {error}"
    return reasons


def _native() -> Dict[str, Any]:
    import ctypes

    path = os.environ.get("DOPT_NATIVE_LIB")
    if not path:
        return {"loaded": False, "detail": "DOPT_NATIVE_LIB is not set"}
    try:
        library = ctypes.CDLL(path)
        library.dopt_build_info.restype = ctypes.c_char_p
        return {"loaded": True, "detail": library.dopt_build_info().decode()}
    except (OSError, AttributeError) as error:
        return {"loaded": False, "detail": str(error)}
