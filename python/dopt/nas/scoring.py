"""What scoring networks has in common in both frameworks: reasons instead of scores, and files that are whole or not there."""

import json
import math
import os
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from dopt.errors import DoptError
from dopt.nas.user import names


#: Score of a network and the loss that it is compared by, None where it did not go on from shared weights.
Verdict = Tuple[float, Optional[float]]
Scorer = Callable[[Dict[str, Any]], Verdict]


class Judge(NamedTuple):
    """``score`` judges a network, the same whatever it was asked before. ``is_full``: whether an error says that memory ran
    out; it frees what can be freed."""

    score: Scorer
    is_full: Callable[[Exception], bool]


def scored(params: Dict[str, Any], make: Callable[[], Judge], events: Any) -> Dict[str, Any]:
    """A verdict for each network: METHODS.nasScore in src/bridge/protocol.ts.

    A network for which memory ran out, and one whose loss or score is no number, has a reason instead of a score. The
    judge stays in the process for as long as it is asked under the same settings.
    """
    networks = params["networks"]
    key = json.dumps({name: value for name, value in params.items() if name != "networks"}, sort_keys=True)
    judge = events.keep(f"nasScore {key}", make)
    results: List[Dict[str, Any]] = []
    for index, candidate in enumerate(networks):
        events.progress(index, len(networks), names(candidate["layers"]))
        results.append({"key": candidate["key"], **_verdict(judge, candidate)})
    return {"results": results}


def _verdict(judge: Judge, candidate: Dict[str, Any]) -> Dict[str, Any]:
    try:
        value, loss = judge.score(candidate)
    except DoptError as error:
        if error.code != "NAS_LOSS":
            raise
        return _none("not-a-number")
    except Exception as error:  # noqa: BLE001 - both frameworks have errors of their own for memory that ran out.
        if not (isinstance(error, MemoryError) or judge.is_full(error)):
            raise
        return _none("out-of-memory")
    return {"score": value, "loss": loss, "reason": None} if math.isfinite(value) else _none("not-a-number")


def _none(reason: str) -> Dict[str, Any]:
    return {"score": None, "loss": None, "reason": reason}


#: What lies between the seeds of a network's trainings, and so is far from the seeds that others are trained alone by.
BETWEEN_SEEDS = 1_000_003


def averaged(verdicts: Sequence[Verdict]) -> Verdict:
    """Mean score and mean loss of trainings of one network: most of what one says beside another is the luck of its beginning."""
    losses = [loss for _, loss in verdicts if loss is not None]
    score = sum(score for score, _ in verdicts) / len(verdicts)
    return score, sum(losses) / len(losses) if losses else None


class Held:
    """The loss that networks are compared by: the user's loss on the validation folder, which says more of a network than whether
    its answers there are right (docs/decisions/020).

    Where the loss does not take that folder's labels (boxes as a metric wants them), the mean loss of the last half of the
    batches (``last_half``), for all networks from the first one on; an error after the loss took labels is one of the user's code.
    """

    def __init__(self, is_full: Callable[[Exception], bool], say: Callable[[str], None]) -> None:
        self._is_full, self._say = is_full, say
        self._refused = self._taken = False

    def loss(self, on_validation: Callable[[], Optional[float]], losses: Sequence[float]) -> Optional[float]:
        """``on_validation``: None where the folder has no batches of its own. ``losses`` of the batches that it was trained with;
        without any there is no loss to compare by. Raises DoptError NAS_LOSS."""
        if not losses:
            return None
        if not self._refused:
            try:
                found = on_validation()
                if found is not None:
                    self._taken = True
                    return found
            except DoptError:
                raise
            except Exception as error:  # noqa: BLE001 - the user's code may raise anything.
                if self._taken or isinstance(error, MemoryError) or self._is_full(error):
                    raise
                self._say(f"The loss does not take labels of the validation folder ({error}): networks are compared by losses of training.")
            self._refused = True
        return last_half(losses)


def last_half(losses: Sequence[float]) -> float:
    """Mean loss of the last half of the batches of a training: the first ones say how a network begins (Ru et al., "Speedy performance
    estimation for neural architecture search", NeurIPS 2021, section 3, TSE-E)."""
    return sum(losses[len(losses) // 2:]) / (len(losses) - len(losses) // 2)


class Training(NamedTuple):
    """A network that is trained alone: ``load`` gets the path of its weights, ``inherit`` the candidate's parent, ``fit``
    epochs and how many are done, ``save`` a file that is open for bytes."""

    load: Callable[[str], None]
    inherit: Callable[[Dict[str, Any]], None]
    fit: Callable[[int, int], None]
    save: Callable[[Any], None]


def train_parts(candidate: Dict[str, Any], training: Training) -> None:
    """Trains a network in the parts that METHODS.nasScore says, from the last one on whose weights are kept."""
    parts = candidate["parts"]
    kept = [at for at, part in enumerate(parts) if part["file"] is not None and os.path.exists(part["file"])]
    first = kept[-1] + 1 if kept else 0
    if first > 0:
        training.load(parts[first - 1]["file"])
    elif candidate["parent"] is not None:
        training.inherit(candidate["parent"])
    done = sum(part["epochs"] for part in parts[:first])
    for part in parts[first:]:
        training.fit(part["epochs"], done)
        done += part["epochs"]
        if part["file"] is not None:
            write_whole(part["file"], training.save)


def write_whole(path: str, write: Callable[[Any], None]) -> None:
    """Writes a file that is on the disk as a whole or not there; ``write`` gets it open for bytes."""
    partial = f"{path}.partial"
    with open(partial, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
