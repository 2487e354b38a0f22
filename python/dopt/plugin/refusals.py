"""The errors that the plug-ins of all frameworks have in common."""

from typing import List, Sequence

from dopt.errors import DoptError


def not_finite(name: str, more: Sequence[str] = ()) -> DoptError:
    """Calibration met NaN or infinity in front of a layer."""
    return DoptError(
        "PLUGIN_NOT_FINITE",
        f"Calibration met NaN or infinite values at the input of {name}.",
        place=name,
        suggestions=["Look at the network's inputs, and at the float network's outputs on the same data.", *more],
    )


def nothing_seen(call: str) -> DoptError:
    """Calibration ended without data. ``call``: how the user's program spells its beginning and end."""
    return DoptError(
        "PLUGIN_NO_CALIBRATION",
        "Calibration ended before the network saw any data.",
        suggestions=[f"Run batches through the network between {call}."],
    )


def uncalibrated(names: List[str], how: str) -> DoptError:
    """There is nothing to export of these yet. ``how``: what to call."""
    listed = ", ".join(list(dict.fromkeys(names))[:10])
    return DoptError(
        "PLUGIN_NO_CALIBRATION",
        f"There is no range yet for {listed}{' and others' if len(names) > 10 else ''}.",
        found=listed,
        suggestions=[how, "A layer that no batch reaches can be left out: quant_strategy float."],
    )


def quantized_already(name: str) -> DoptError:
    """A float network is wanted."""
    return DoptError(
        "PLUGIN_QUANTIZED",
        f"{name} is quantized already.",
        suggestions=["Give a freshly built float network; trained values come from the checkpoint."],
    )


def not_quantized(name: str, made_by: str) -> DoptError:
    """A quantized network is wanted. ``made_by``: what returns one."""
    return DoptError(
        "PLUGIN_NOT_QUANTIZED",
        f"{name} is no quantized network.",
        found=name,
        suggestions=[f"Give what {made_by} returned."],
    )


def no_step(call: str) -> DoptError:
    """Distillation has nothing to compare. ``call``: how the user's program makes a step and a loss of it."""
    return DoptError(
        "PLUGIN_NO_STEP",
        "There is no training step to compare with the float network.",
        suggestions=[f"Call the quantized network in training mode first: {call}"],
    )
