"""Method ``pluginCheck``: runs a training project for a few steps and tells what the plug-in made of its networks."""

import os
import runpy
import sys
import traceback
import warnings
from typing import Any, Dict, List

from dopt.errors import Cancelled, DoptError


class _Enough(BaseException):
    """The program has run for as many steps as wanted; unwinds through ``except Exception``."""


def plugin_check(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Runs a program until its quantized networks have been called ``params.steps`` times, or it ends.

    Parameters and result: METHODS.pluginCheck in src/bridge/protocol.ts. Raises DoptError of the plug-in as it is, and
    PLUGIN_SCRIPT (external) with the last lines of the traceback when the program itself fails.
    """
    script, steps = params["script"], params["steps"]
    from dopt.plugin.numbers import FloatLayer
    from dopt.torch import api
    from dopt.torch.build import build
    from dopt.torch.network import QuantizedNetwork

    networks: List[Any] = []
    calls = [0]
    forward = QuantizedNetwork.forward

    def watched_build(*args: Any, **kwargs: Any) -> Any:
        network = build(*args, **kwargs)
        networks.append(network)
        return network

    def watched_forward(network: Any, *args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        result = forward(network, *args, **kwargs)
        if calls[0] >= steps:
            raise _Enough()
        return result

    _replace_build(build, watched_build)
    QuantizedNetwork.forward = watched_forward  # type: ignore[method-assign]
    ended = "finished"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        sys.argv = [script, *params["arguments"]]
        sys.path.insert(0, os.path.dirname(script))
        events.log("info", f"running {script}")
        try:
            runpy.run_path(script, run_name="__main__")
        except _Enough:
            ended = "stopped"
        except SystemExit as stop:
            ended = "finished" if not stop.code else f"exit {stop.code}"
        except (DoptError, Cancelled):
            raise
        except Exception as error:  # noqa: BLE001 - the user's program may raise anything.
            raise _failed(script, error) from error
        finally:
            QuantizedNetwork.forward = forward  # type: ignore[method-assign]
            _replace_build(watched_build, build)
    described = []
    for network in networks:
        found = api.layers(network)
        described.append({
            "network": type(network).__name__.replace("Quantized", "", 1),
            "captured": {name: kind for name, kind in found.items() if isinstance(kind, str)},
            "float": [each._asdict() for each in found.values() if isinstance(each, FloatLayer)],
        })
    said = list(dict.fromkeys(str(each.message) for each in caught if issubclass(each.category, UserWarning)))
    return {"networks": described, "steps": calls[0], "ended": ended, "warnings": said}


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


def _replace_build(old: Any, new: Any) -> None:
    """Puts ``new`` wherever our modules hold ``old``."""
    for name, module in list(sys.modules.items()):
        if name.startswith("dopt.") and getattr(module, "build", None) is old:
            module.build = new  # type: ignore[attr-defined]
