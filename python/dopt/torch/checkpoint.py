"""Reading the state of a quantized network from a checkpoint file."""

import inspect
from typing import Any, Dict

import torch
from torch import nn

from dopt.errors import DoptError
from dopt.plugin.near import near_matches

_KEYS = ("state_dict", "model", "model_state_dict")


def load_state(quantized: nn.Module, path: str) -> None:
    """Loads a checkpoint strictly. Raises DoptError PLUGIN_CHECKPOINT, saying what is missing, left over or of another shape."""
    state = _read(path)
    wanted = quantized.state_dict()
    missing = [name for name in wanted if name not in state]
    unknown = [name for name in state if name not in wanted]
    shapes = [name for name in wanted if name in state and state[name].shape != wanted[name].shape]
    if not (missing or unknown or shapes):
        quantized.load_state_dict(state)
        return
    if missing and all("scale" in name or "input_quantizers" in name or "norm_steps" in name for name in missing) and not shapes:
        hint = "This is the state of a float network: save that of the quantized one, torch.save(quantized.state_dict(), path)."
    else:
        near = near_matches(missing[0], unknown) if missing else []
        hint = f"For {missing[0]!r}, the file has {near[0]!r}." if near else "Is it the state of another network, or of other settings?"
    parts = [("lacks", missing), ("has in addition", unknown), ("has in other shapes", shapes)]
    said = "; ".join(f"it {verb} {', '.join(names[:5])}{' …' if len(names) > 5 else ''}" for verb, names in parts if names)
    raise DoptError(
        "PLUGIN_CHECKPOINT",
        f"{path} does not fit the quantized network: {said}.",
        place=path,
        suggestions=[hint, "Use the settings file that the network was trained with."],
    )


def _read(path: str) -> Dict[str, Any]:
    safe = {"weights_only": True} if "weights_only" in inspect.signature(torch.load).parameters else {}
    try:
        content = torch.load(path, map_location="cpu", **safe)
    except Exception as error:  # noqa: BLE001 - torch and pickle raise many types here.
        raise DoptError("PLUGIN_CHECKPOINT", f"Cannot read {path}: {error}", place=path) from error
    for key in _KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise DoptError(
            "PLUGIN_CHECKPOINT",
            f"{path} holds no state_dict.",
            place=path,
            suggestions=["Save the state of the quantized network: torch.save(quantized.state_dict(), path)."],
        )
    return {name[len("module.") :] if name.startswith("module.") else name: value for name, value in content.items()}
