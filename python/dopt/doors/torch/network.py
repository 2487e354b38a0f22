"""The user's network: the .py that defines it is imported, the class or function that makes it found and called.

The file is the user's own program and runs as such, in the job's process; what it prints goes to the run's log.
"""

import difflib
import importlib.util
import inspect
import os
import sys
import traceback
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from dopt.errors import DoptError, in_a_line


class Opened(NamedTuple):
    """A network in evaluation mode with its weights, and what the user should know of how it was found.

    quantization: that of a weights file that dopt wrote, None elsewhere. script: it is TorchScript.
    """

    network: Any
    notes: List[str]
    quantization: Optional[Dict[str, Any]]
    script: bool


def open_network(params: Dict[str, Any]) -> Opened:
    """The network of a ``frameworkModel`` (src/bridge/protocol.ts) on the CPU.

    Raises DoptError: MODEL_PY_FAILED (the file does not run), MODEL_CLASS (no network or several in it),
    MODEL_CONSTRUCTOR (it cannot be made without arguments), MODEL_TORCHSCRIPT, and those of the weights' reader.
    """
    import torch

    torch.manual_seed(0)
    path = params["model"]
    if params["weights"] is None:
        return _open_script(path)
    from dopt.doors.torch.checkpoint import load_checkpoint
    from dopt.doors.torch.keys import load_into

    network = _make(path, params["className"])
    checkpoint = load_checkpoint(params["weights"])
    notes = checkpoint.notes + load_into(network, checkpoint.state, params["weights"])
    return Opened(network.cpu().eval(), notes + _without_subnormals(network), checkpoint.quantization, False)


def _without_subnormals(network: Any) -> List[str]:
    """Sets parameters to zero where they are subnormal: see capture/subnormal.py. Returns the note about it.

    Not by ``torch.set_flush_denormal``: it reaches one thread and those that start later, and the first session of
    onnxruntime in the process takes it back.
    """
    import torch

    from dopt.capture.subnormal import subnormal

    means = [buffer for name, buffer in network.named_buffers() if name.endswith("running_mean")]
    flushed = 0
    with torch.no_grad():
        for tensor in [*network.parameters(), *means]:
            if tensor.dtype == torch.float32 and tensor.device.type == "cpu":
                where = torch.from_numpy(subnormal(tensor.detach().numpy()))
                flushed += int(where.sum())
                tensor.masked_fill_(where, 0.0)
    return [f"{flushed} weights below 1.2e-38, which only slow processors down, are zero."] if flushed else []


def _open_script(path: str) -> Opened:
    import torch

    try:
        script = torch.jit.load(path, map_location="cpu")
    except Exception as error:  # noqa: BLE001 - torch raises many types on damaged archives.
        raise DoptError(
            "MODEL_TORCHSCRIPT",
            f"torch {torch.__version__} cannot read the TorchScript file {path}: {in_a_line(error)}",
            place=path,
            suggestions=[
                "A file saved by a newer torch needs a newer one: --profile current, or --env system with DOPT_PYTHON.",
                "Save it again with torch.jit.save, or give the .py of the network with its weights.",
            ],
        ) from error
    return Opened(script.eval(), [], None, True)


def _make(path: str, name: Optional[str]) -> Any:
    """Calls the class or function that makes the network."""
    module = _import(path)
    candidates = _candidates(module)
    if name is not None:
        return _named(path, module, name, candidates)
    made = {}
    for candidate, maker in candidates.items():
        if inspect.isclass(maker) and _callable_without_arguments(maker):
            made[candidate] = _call(path, candidate, maker)
    parts = {type(part) for network in made.values() for part in list(network.modules())[1:]}
    whole = {candidate: network for candidate, network in made.items() if type(network) not in parts}
    if len(whole) == 1:
        return next(iter(whole.values()))
    functions = {name: maker for name, maker in candidates.items() if not inspect.isclass(maker)}
    if not whole and len(functions) == 1:
        name, maker = next(iter(functions.items()))
        return _checked(path, name, _call(path, name, maker))
    raise _which(path, whole or functions, candidates)


def _import(path: str) -> Any:
    folder, name = os.path.split(os.path.abspath(path))
    package, parent = _package(folder)
    # The file may import its neighbours, and the package that it lies in.
    sys.path[:0] = [folder] if parent == folder else [folder, parent]
    stem = os.path.splitext(name)[0]
    # A name of its own keeps it from hiding a package that it imports.
    spec = importlib.util.spec_from_file_location(f"dopt_user_{stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        try:
            spec.loader.exec_module(module)
            return module
        except ImportError as error:
            if not package or "relative import" not in str(error):
                raise
            # Only as part of its package can it say `from .blocks import Block`; that runs the package's __init__.py.
            return importlib.import_module(f"{package}.{stem}")
    except BaseException as error:  # noqa: BLE001 - also SystemExit of a script that ends itself.
        raise _broken(path, error, "cannot be imported") from error


def _package(folder: str) -> Tuple[str, str]:
    """The dotted name of the package that a folder is, '' when it is none, and the folder that the package lies in."""
    names: List[str] = []
    while os.path.isfile(os.path.join(folder, "__init__.py")) and os.path.basename(folder).isidentifier():
        folder, name = os.path.split(folder)
        names.insert(0, name)
    return ".".join(names), folder


def _candidates(module: Any) -> Dict[str, Any]:
    """Classes of networks, and functions without arguments, that the file itself defines."""
    import torch

    own = {
        name: value
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
    }
    networks = {n: v for n, v in own.items() if inspect.isclass(v) and issubclass(v, torch.nn.Module)}
    functions = {n: v for n, v in own.items() if inspect.isfunction(v) and _callable_without_arguments(v)}
    # What scripts are made of; none of them returns a network.
    for name in ("main", "test", "train", "evaluate", "parse_args"):
        functions.pop(name, None)
    return {**networks, **functions}


def _callable_without_arguments(maker: Any) -> bool:
    try:
        parameters = inspect.signature(maker).parameters.values()
    except (TypeError, ValueError):
        return False
    required = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return all(p.default is not p.empty or p.kind not in required for p in parameters)


def _named(path: str, module: Any, name: str, candidates: Dict[str, Any]) -> Any:
    import torch

    maker = getattr(module, name, None)
    if isinstance(maker, torch.nn.Module):
        return maker
    if not callable(maker):
        near = difflib.get_close_matches(name, candidates, n=1, cutoff=0.5)
        raise DoptError(
            "MODEL_CLASS",
            f"{path} has no class or function {name!r}; it has {', '.join(candidates) or 'none'}.",
            place=path,
            suggestions=[f"Did you mean --class {near[0]}?"] if near else ["Name one of them: --class NAME"],
        )
    if not _callable_without_arguments(maker):
        raise DoptError(
            "MODEL_CONSTRUCTOR",
            f"{path}: {name} needs arguments: {name}{inspect.signature(maker)}.",
            place=path,
            suggestions=[
                f"Add a function without arguments to the file, def make(): return {name}(...), and name it: --class make"
            ],
        )
    return _checked(path, name, _call(path, name, maker))


def _checked(path: str, name: str, network: Any) -> Any:
    import torch

    if isinstance(network, torch.nn.Module):
        return network
    raise DoptError(
        "MODEL_CLASS",
        f"{path}: {name}() returns {type(network).__name__}, which is no torch.nn.Module.",
        place=path,
        suggestions=["Name the class or function that makes the network: --class NAME"],
    )


def _call(path: str, name: str, maker: Any) -> Any:
    try:
        return maker()
    except BaseException as error:  # noqa: BLE001
        raise _broken(path, error, f"fails in {name}()") from error


def _which(path: str, makers: Dict[str, Any], candidates: Dict[str, Any]) -> DoptError:
    if makers:
        found = f"defines {len(makers)} networks: {', '.join(makers)}"
        advice = f"Name the one that the weights belong to: --class {next(iter(makers))}"
    elif candidates:
        found = f"defines {', '.join(candidates)}, and each needs arguments"
        name = next(reversed(list(candidates)))
        advice = f"Add a function without arguments to the file, def make(): return {name}(...), and name it: --class make"
    else:
        found = "defines no torch.nn.Module"
        advice = "Give the file whose class or function makes the network."
    return DoptError("MODEL_CLASS", f"{path} {found}.", place=path, suggestions=[advice])


def _broken(path: str, error: BaseException, what: str) -> DoptError:
    """An error of the user's file with the line of it that was reached last."""
    if isinstance(error, SyntaxError) and error.lineno:
        place = f"{error.filename}:{error.lineno}"
    else:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "dopt_user_" in f.name or f.filename == path]
        place = f"{path}:{frames[-1].lineno}" if frames else path
    missing = isinstance(error, ImportError)
    return DoptError(
        "MODEL_PY_FAILED",
        f"{place}: the file {what}: {type(error).__name__}: {in_a_line(error)}",
        place=place,
        suggestions=[
            *newer_torch(error),
            "Install what it imports into an environment of your own and use it: --env system with DOPT_PYTHON, or keep "
            "the network in a file of its own."
            if missing
            else "Mend the file; it must define the network when it is imported, and do nothing else.",
        ],
    )


def newer_torch(error: BaseException) -> List[str]:
    """The way to a newer PyTorch, when an error says that this one lacks something."""
    import torch

    text = f"{error} {getattr(error, 'name', '')}"
    lacks = isinstance(error, (AttributeError, ImportError)) and "torch" in text
    if not lacks and not (isinstance(error, TypeError) and "unexpected keyword argument" in text):
        return []
    if int(torch.__version__.split(".")[0]) >= 2:
        return []
    return [f"This is PyTorch {torch.__version__.split('+')[0]}; for a network written for PyTorch 2: --profile current."]
