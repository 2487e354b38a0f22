"""Method ``llmRanges`` of src/bridge/protocol-llm.ts, and static integer grids of activations from observed extremes."""

import math
import threading
import time
from typing import Any, Dict, List, Optional, Tuple

from dopt.events import Events
from dopt.llm.artifact import Reader, Writer
from dopt.llm.place import Place, place_of
from dopt.llm.restore import open_quantized
from dopt.llm.taps import CACHED, fixed_rule, shared_names
from dopt.llm.tokens import samples_of, warnings_of
from dopt.llm.whole import observe_all


class Ranges:
    """Extremes of tensors and the power of a typical row of them (a token's), by name; may be fed by several threads.

    The typical power is the geometric mean over rows: in a residual stream a single token, the attention sink, can have a
    million times the power of all others, and a mean over values would tell of that one alone.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: Dict[str, List[Any]] = {}

    def tap(self, name: str, x: Any) -> Any:
        """Observes a tensor and gives it back. What was seen stays on its device until ``state`` asks for it."""
        import torch

        if fixed_rule(name) is None and x.numel():
            powers = (x.reshape(-1, x.shape[-1]) ** 2).mean(dim=1).double()
            live = powers > 0
            logs = torch.where(live, powers, torch.ones_like(powers)).log10().sum()
            found = torch.stack([x.min().double(), x.max().double(), logs, live.sum().double()])
            with self._lock:
                self._seen.setdefault(name, []).append(found)
        else:
            with self._lock:
                self._seen.setdefault(name, [])
        return x

    def clear(self) -> None:
        """Forgets everything."""
        self._seen = {}

    def state(self) -> Dict[str, Dict[str, float]]:
        """``{name: {low, high, logs, rows}}``, whatever order the values came in: logs are decimal, of the rows' powers."""
        seen_here = {name: [each.tolist() for each in seen] for name, seen in self._seen.items()}
        return {
            name: {
                "low": min((each[0] for each in seen), default=0.0),
                "high": max((each[1] for each in seen), default=0.0),
                "logs": math.fsum(each[2] for each in seen),
                "rows": int(sum(each[3] for each in seen)),
            }
            for name, seen in sorted(seen_here.items())
        }


def grids_of(states: Dict[str, Dict[str, float]], options: Dict[str, Any]) -> List[Dict[str, Any]]:
    """``activationResultSchema`` for each tensor: what its integers are, and what rounding does to it.

    Tensors that share a scale get the range of all of them. The operands that lie in the cache of keys and values have
    ``kvBits`` of their own; where these are not ``bits``, what comes before them has another scale. Symmetric: scale = max|x| / (2^(bits-1) - 1), zero point 0;
    asymmetric: scale = (high - low) / (2^bits - 1) over the range widened to hold 0, integers signed.
    """
    ranges = {name: (each["low"], each["high"]) for name, each in states.items()}
    shared = set()
    for group in shared_names(list(states)):
        if len({bits_of(name, options) for name in group}) > 1:
            continue
        low, high = min(ranges[name][0] for name in group), max(ranges[name][1] for name in group)
        ranges.update((name, (low, high)) for name in group)
        shared.update(group)
    return [_grid(name, each, ranges[name], "shared" if name in shared else "range", options) for name, each in states.items()]


def bits_of(name: str, options: Dict[str, Any]) -> int:
    """Width of a tensor."""
    return int(options["kvBits"] if name.endswith(CACHED) else options["bits"])


def quiet(grids: List[Dict[str, Any]], options: Dict[str, Any]) -> List[str]:
    """A sentence for each tensor whose signal to noise is low."""
    found = []
    for grid in grids:
        coarse = options["bits"] > 8 and bits_of(grid["name"], options) == 8  # asked for, and below any such limit
        if grid["sqnr"] is not None and grid["sqnr"] < options["warnBelow"] and not coarse:
            found.append(
                f"{grid['name']} has {grid['sqnr']:.0f} dB of signal to noise (range {grid['low']:.3g} to {grid['high']:.3g}): "
                "begin every sample with BOS here and on the device, rotate the residual stream, or give its linear 8 bits."
            )
    return found


def ranges(params: Dict[str, Any], events: Events) -> Dict[str, Any]:
    """Observes a quantized model and writes the grids into its folder; see protocol-llm.ts."""
    with place_of(params) as place:
        return _ranges(params, events, place)


def _ranges(params: Dict[str, Any], events: Events, place: Place) -> Dict[str, Any]:
    started = time.monotonic()
    restored = open_quantized(params["quantized"], params["trustRemoteCode"], place.device)
    vocabulary = restored.names[f"{restored.embedding_name}.weight"][0]
    ids, text = samples_of(params["calibration"], params["model"], vocabulary, params["trustRemoteCode"])
    batches = list(place.put(ids).split(params["batch"]))
    seen = Ranges()
    observe_all(restored, batches, seen.tap, place.threads, events)
    grids = grids_of(seen.state(), params["activations"])
    write(Writer(params["quantized"], Reader(params["quantized"]).fingerprint), grids, params["activations"])
    return {
        "calibration": text,
        "activations": grids,
        "warnings": warnings_of(params["calibration"], text) + quiet(grids, params["activations"]),
        "seconds": time.monotonic() - started,
    }


def write(writer: Writer, grids: List[Dict[str, Any]], options: Dict[str, Any], close: bool = True) -> None:
    """Puts the grids into an artifact."""
    for grid in grids:
        form = (grid["scale"], grid["zeroPoint"], bits_of(grid["name"], options), options["symmetric"])
        writer.activation(grid["name"], *form, grid["low"], grid["high"], grid["sqnr"], rule=grid["rule"])
    if close:
        writer.close({})


def _grid(
    name: str, seen: Dict[str, float], limits: Tuple[float, float], rule: str, options: Dict[str, Any]
) -> Dict[str, Any]:
    bits, symmetric = bits_of(name, options), options["symmetric"]
    fixed = fixed_rule(name)
    low, high = (0.0, 1.0) if fixed else (min(0.0, limits[0]), max(0.0, limits[1]))
    if symmetric:
        scale, zero = max(-low, high) / (2 ** (bits - 1) - 1), 0
    else:
        scale = (high - low) / (2**bits - 1)
        zero = round(-(2 ** (bits - 1)) - low / scale) if scale > 0 else 0
    if not scale > 0:
        scale = 1.0
    block = _block_of(name)
    found = {"name": name, "block": block, "scale": scale, "zeroPoint": zero, "low": low, "high": high}
    return {**found, "sqnr": None if fixed else _sqnr(seen, scale), "rule": fixed or rule}


def _sqnr(seen: Dict[str, float], scale: float) -> Optional[float]:
    """Power of a typical row over that of the noise of uniform rounding, dB."""
    if not seen["rows"]:
        return None
    return 10 * (seen["logs"] / seen["rows"] - math.log10(scale * scale / 12))


def _block_of(name: str) -> Optional[int]:
    return next((int(part) for part in name.partition(":")[0].split(".") if part.isdigit()), None)
