"""Method ``pluginCheck``: runs a training project for a few steps and tells what the plug-in made of its networks.

Each framework that is installed has a watcher (``dopt.torch.probe``, ``dopt.tf.probe``): a context manager ``watch(found,
called)`` within which ``found(description)`` is told of every network that is quantized and ``called()`` of every step.
"""

import contextlib
import importlib
import importlib.util
import os
import runpy
import sys
import traceback
import warnings
from typing import Any, Callable, Dict, List

from dopt.errors import Cancelled, DoptError

#: What tells of a network: a function, since layers are known when the program ends.
Description = Callable[[], Dict[str, Any]]

WATCHERS = {"torch": "dopt.torch.probe", "tensorflow": "dopt.tf.probe"}


class Enough(BaseException):
    """The program has run for as many steps as wanted; unwinds through ``except Exception``."""


def plugin_check(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Runs a program until its quantized networks have been called ``params.steps`` times, or it ends.

    Parameters and result: METHODS.pluginCheck in src/bridge/protocol.ts. Raises DoptError of the plug-in as it is, and
    PLUGIN_SCRIPT (external) with the last lines of the traceback when the program itself fails.
    """
    script, steps = params["script"], params["steps"]
    networks: List[Description] = []
    calls = [0]

    def called() -> None:
        calls[0] += 1
        if calls[0] >= steps:
            raise Enough()

    ended = "finished"
    with warnings.catch_warnings(record=True) as caught, contextlib.ExitStack() as watchers:
        warnings.simplefilter("always", UserWarning)
        for package, watcher in WATCHERS.items():
            if importlib.util.find_spec(package) is not None:
                watchers.enter_context(importlib.import_module(watcher).watch(networks.append, called))
        sys.argv = [script, *params["arguments"]]
        sys.path.insert(0, os.path.dirname(script))
        events.log("info", f"running {script}")
        try:
            runpy.run_path(script, run_name="__main__")
        except Enough:
            ended = "stopped"
        except SystemExit as stop:
            ended = "finished" if not stop.code else f"exit {stop.code}"
        except (DoptError, Cancelled):
            raise
        except Exception as error:  # noqa: BLE001 - the user's program may raise anything.
            # A step inside of a compiled function cannot raise but an error of the framework's.
            if calls[0] < steps:
                raise _failed(script, error) from error
            ended = "stopped"
    said = list(dict.fromkeys(str(each.message) for each in caught if _is_ours(each)))
    return {"networks": [describe() for describe in networks], "steps": min(calls[0], steps), "ended": ended, "warnings": said}


def described(name: str, found: Dict[str, Any]) -> Dict[str, Any]:
    """A network as the result tells it. ``found``: by layer, its widths, or a FloatLayer."""
    from dopt.plugin.numbers import FloatLayer

    return {
        "network": name,
        "captured": {name: kind for name, kind in found.items() if isinstance(kind, str)},
        "float": [each._asdict() for each in found.values() if isinstance(each, FloatLayer)],
    }


def replace_function(old: Any, new: Any, name: str = "build") -> None:
    """Puts ``new`` wherever our modules hold ``old`` under this name."""
    for title, module in list(sys.modules.items()):
        if title.startswith("dopt.") and getattr(module, name, None) is old:
            setattr(module, name, new)


def _is_ours(caught: Any) -> bool:
    """Warnings for users; those of frameworks about themselves are left out."""
    framework = any(f"{os.sep}{name}{os.sep}" in caught.filename for name in ("tensorflow", "keras", "torch", "onnx"))
    ours = f"{os.sep}dopt{os.sep}" in caught.filename
    return issubclass(caught.category, UserWarning) and (ours or not framework)


def _failed(script: str, error: Exception) -> DoptError:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if os.path.abspath(frame.filename) == script]
    place = f"{script}:{frames[-1].lineno}" if frames else script
    return DoptError(
        "PLUGIN_SCRIPT",
        f"{place}: the program fails: {type(error).__name__}: {error}",
        kind="external",
        place=place,
        suggestions=["Run it by itself first: python SCRIPT. Packages it needs must be in the environment: --env system."],
    )
