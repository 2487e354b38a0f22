"""Method ``llmEvaluate`` of src/bridge/protocol-llm.ts: what quantization did to a model, on text it has not seen."""

import math
import time
from typing import Any, Dict, List, NamedTuple, Optional

from dopt.events import Events
from dopt.execute.peak import peak_bytes
from dopt.llm.generate import continue_all
from dopt.llm.load import open_model
from dopt.llm.place import Place, place_of
from dopt.llm.restore import open_quantized
from dopt.llm.simulate import tap_of, tapped_part
from dopt.llm.stream import Stream
from dopt.llm.taps import Tap
from dopt.llm.tokens import samples_of
from dopt.llm.whole import through_blocks

RECIPE = (
    "Windows of {length} tokens without overlap{bos}; every token but the first of a window is predicted from those before "
    "it in the window; perplexity is exp of the mean of -log p. Arithmetic in float32."
)


class Sums(NamedTuple):
    """Over the predicted tokens of a batch."""

    tokens: int
    float_nats: float
    quantized_nats: float
    kl: float
    agreed: int


def evaluate(params: Dict[str, Any], events: Events) -> Dict[str, Any]:
    """Perplexity of the float model, and how the quantized one differs; see protocol-llm.ts."""
    with place_of(params) as place:
        return _evaluate(params, events, place)


def _evaluate(params: Dict[str, Any], events: Events, place: Place) -> Dict[str, Any]:
    started = time.monotonic()
    trust = params["trustRemoteCode"]
    source = open_model(params["model"], trust, place.device)
    vocabulary = source.names[f"{source.embedding_name}.weight"][0]
    ids, text = samples_of(params["text"], params["model"], vocabulary, trust)
    batches = list(place.put(ids).split(params["batch"]))
    streams = [Stream(source)]
    taps: List[Optional[Tap]] = [None]
    turn = None
    if params["quantized"] is not None:
        restored = open_quantized(params["quantized"], trust, place.device)
        streams.append(Stream(restored))
        taps.append(tap_of(restored, params["activations"]))
        turn = restored.turn()
    errors, hidden = through_blocks(streams, batches, taps, place.threads, events, turn)
    sums = _tail(streams, batches, hidden, taps, events)
    tokens = sum(each.tokens for each in sums)
    nats = [sum(getattr(each, key) for each in sums) / tokens for key in ("float_nats", "quantized_nats")]
    quantized = None
    if len(streams) > 1:
        quantized = {
            **_perplexity(nats[1]),
            "kl": sum(each.kl for each in sums) / tokens,
            "agreement": sum(each.agreed for each in sums) / tokens,
            "blocks": errors,
        }
    bos = "" if text["bos"] is None else f", each beginning with BOS ({text['bos']})"
    return {
        "recipe": RECIPE.format(length=text["length"], bos=bos),
        "text": text,
        "scored": tokens,
        "float": _perplexity(nats[0]),
        "quantized": quantized,
        "samples": continue_all(params, events, place.device) if params["prompts"] else [],
        "seconds": time.monotonic() - started,
        "peakBytes": peak_bytes(),
    }


def _tail(
    streams: List[Stream], batches: List[Any], hidden: List[List[Any]], taps: List[Optional[Tap]], events: Events
) -> List[Sums]:
    sums = []
    for index, batch in enumerate(batches):
        events.progress(index, len(batches), f"logits {index} of {len(batches)}")
        logits = []
        for i, stream in enumerate(streams):
            with tapped_part(stream, None, taps[i]):
                logits.append(stream.end(batch, hidden[i][index])[:, :-1].flatten(0, 1))
        sums.append(compare(batch[:, 1:].flatten(), logits[0], logits[1] if len(logits) > 1 else None))
    return sums


def compare(wanted: Any, given: Any, other: Optional[Any]) -> Sums:
    """Sums over tokens: wanted int64 [tokens], logits float32 [tokens, vocabulary] of the float and the quantized model."""
    import torch

    sums = Sums(0, 0.0, 0.0, 0.0, 0)
    for first in range(0, len(wanted), 256):
        part = slice(first, first + 256)
        p = torch.log_softmax(given[part].double(), dim=-1)
        took = wanted[part, None]
        nats = -float(p.gather(1, took).sum())
        if other is None:
            sums = Sums(sums.tokens + len(p), sums.float_nats + nats, 0.0, 0.0, 0)
            continue
        q = torch.log_softmax(other[part].double(), dim=-1)
        sums = Sums(
            sums.tokens + len(p),
            sums.float_nats + nats,
            sums.quantized_nats - float(q.gather(1, took).sum()),
            sums.kl + float((p.exp() * (p - q)).sum()),
            sums.agreed + int((p.argmax(dim=1) == q.argmax(dim=1)).sum()),
        )
    return sums


def _perplexity(nats: float) -> Dict[str, float]:
    return {"nats": nats, "perplexity": math.exp(min(nats, 700.0))}
