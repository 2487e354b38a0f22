"""Method ``llmQuantize`` of src/bridge/protocol-llm.ts: weights solved block after block, written as they are finished."""

import hashlib
import json
import time
from typing import Any, Dict, List, Optional, Tuple

from dopt.events import Events
from dopt.execute.peak import peak_bytes, resident_bytes
from dopt.llm import memory
from dopt.llm.artifact import Writer
from dopt.llm.block import States, Work, crossing, needs_float, relative_error, solve_block
from dopt.llm.families import Linear
from dopt.llm.fisher import LENGTH
from dopt.llm.journal import Journal
from dopt.llm.load import open_model
from dopt.llm.network import empty, parameters_of, versions
from dopt.llm.outside import put_head, quantize_embedding, quantize_head, round_embedding, write_floats
from dopt.llm.place import Place, place_of
from dopt.llm.polish import polished
from dopt.llm.ranges import Ranges, grids_of, quiet
from dopt.llm.ranges import write as write_grids
from dopt.llm.rotate import Rotation
from dopt.llm.solve import Solution
from dopt.llm.strategies import checked_strategies
from dopt.llm.stream import Stream
from dopt.llm.tokens import samples_of, warnings_of
from dopt.llm.trial import choose_rotation
from dopt.llm.whole import observe_outside

#: Raised when the same parameters give other results: an unfinished run of before is not gone on with.
VERSION = 10


def quantize(params: Dict[str, Any], events: Events) -> Dict[str, Any]:
    """Quantizes a model; see protocol-llm.ts for parameters and result."""
    memory.keep_no_buffers()
    memory.return_freed_memory(memory.LARGE_BYTES)
    with place_of(params) as place:
        return Run(params, events, place).run()


class Run:
    """One quantization."""

    def __init__(self, params: Dict[str, Any], events: Events, place: Place) -> None:
        self.params, self.events, self.place = params, events, place
        self.started = time.monotonic()
        self.source = open_model(params["model"], params["trustRemoteCode"], place.device)
        vocabulary = self.source.names[f"{self.source.embedding_name}.weight"][0]
        self.ids, self.calibration = samples_of(params["calibration"], params["model"], vocabulary, params["trustRemoteCode"])
        self.warnings = warnings_of(params["calibration"], self.calibration)
        if self.source.whole:
            self.warnings.append(f"The whole model is in memory: {self.source.whole}.")
        self.stream = Stream(self.source)
        self.rotated = False
        self._reset()

    def _reset(self) -> None:
        """As before the first block."""
        params = self.params
        self.options = {
            "solver": crossing(params["solver"], -(-len(self.ids) // params["batch"]), self.source.weight_count()),
            "strategies": checked_strategies(self.source, self.stream, params["linears"]),
            "threads": self.place.threads,
            "events": self.events,
            "lockstep": params["lockstep"],
            "ranges": None if params["activations"] is None else Ranges(),
            "orders": {},
            "tokens": {},
        }
        self.blocks: List[Dict[str, Any]] = []
        self.linears: List[Dict[str, Any]] = []
        self.seen: Dict[str, Dict[str, float]] = {}
        self.head: Optional[Solution] = None

    def run(self) -> Dict[str, Any]:
        fingerprint = self._fingerprint()
        journal = Journal(self.params["out"], fingerprint)
        found = journal.read() if self.params["resume"] else None
        choose_rotation(self, None if found is None else found["rotated"])
        writer = Writer(self.params["out"], fingerprint)
        first, states = self._start(journal, found, writer)
        if first:
            self.events.log("info", f"Going on behind block {first - 1}.")
        for index in range(first, len(self.stream)):
            self._progress(index)
            states = self._block(index, states, writer)
            found = {"blocks": self.blocks, "linears": self.linears, "seen": self.seen, "rotated": self.rotated}
            journal.write(index + 1, states, found)
        self._say("head")
        self._head(states, writer)
        self._say("activations outside of the blocks")
        grids = self._activations(states, writer)
        write_floats(self.source, self.stream, writer, self.options["strategies"], self.params["embeddingBits"])
        path = writer.close(self._meta())
        journal.remove()
        self._say("done")
        return self._result(path, first, grids)

    def _start(self, journal: Journal, found: Optional[Dict[str, Any]], writer: Writer) -> Tuple[int, States]:
        """Where to begin and the hidden states there; ``found``: what the journal says."""
        quantize_embedding(self.source, writer, self.params["embeddingBits"])
        batches = self.batches(self.ids)
        lengths = {tuple(batch.shape): batch for batch in batches}
        if found is None:
            journal.remove()
            return 0, self.begin(batches)
        round_embedding(self.source, self.params["embeddingBits"])
        for batch in lengths.values():
            self.stream.begin(batch)
        self._begin_piece(batches)
        self.blocks, self.linears, self.seen = found["blocks"], found["linears"], found["seen"]
        return found["done"], journal.states(found["done"], self.place.device)

    def begin(self, batches: List[Any]) -> States:
        """Hidden states before the first block; once for a network, whose embedding is the quantized one from then on."""
        solver, count = self.options["solver"], len(batches)
        self._begin_piece(batches)
        given = [self.stream.begin(each) if needs_float(solver, index, count) else None for index, each in enumerate(batches)]
        round_embedding(self.source, self.params["embeddingBits"])
        return States(given, [self.stream.begin(batch) for batch in batches])

    def _begin_piece(self, batches: List[Any]) -> None:
        """Blocks learn how they are called with what ``dopt.llm.fisher`` runs them on."""
        self.stream.begin(batches[0][:1, :LENGTH])

    def renew(self, rotation: Optional[Rotation], head: bool = True) -> None:
        """Another network of the same weights, rotated or not, with its head or for its blocks alone."""
        empty(self.source.network)  # which lives until Python looks for cycles
        memory.return_freed_memory(memory.LARGE_BYTES)
        self.source = open_model(self.params["model"], self.params["trustRemoteCode"], self.place.device)
        self.source.rotate(rotation)
        self.rotated = rotation is not None
        self.stream = Stream(self.source, head)
        self._reset()

    def _block(self, index: int, states: States, writer: Writer) -> States:
        begun = time.monotonic()
        work = Work(self.stream, index, self.options)
        work.load()
        memory.return_freed_memory(work.sum_bytes)
        with work.running():
            solutions, done = solve_block(self.place.rows, work, states)
            if self.params["solver"]["polish"]:
                solutions, done = polished(work, states, done, solutions)
        states = done
        error = relative_error(states)
        if self.options["ranges"] is not None:
            self.seen.update(self.options["ranges"].state())
            self.options["ranges"].clear()
        writer.begin_block(index)
        for name, solution in solutions.items():
            self._write(writer, name, solution)
            self.linears.append(solution.told(name, index, self.options["tokens"]))
        self._write_rest(writer, work)
        writer.end_block(index)
        self.stream.drop(index)
        memory.return_freed_memory(work.sum_bytes)
        seconds = time.monotonic() - begun
        self.blocks.append({"block": index, "error": error, "rotated": self.rotated, "seconds": seconds})
        return states

    def _write(self, writer: Writer, name: str, solution: Solution) -> None:
        strategy = self.options["strategies"][name]
        form = {"bits": strategy["bits"], "group_size": strategy["groupSize"], "strategy": strategy["strategy"]}
        writer.linear(name, solution.integers.cpu().numpy(), solution.scales.cpu().numpy(), **form)

    def _write_rest(self, writer: Writer, work: Work) -> None:
        """What of a block stays float."""
        block = self.stream.block(work.index)
        for linear in linears_of_block(work):
            if linear.name not in work.linears and linear.expert is None:
                writer.floats(linear.parameter, work.weights[linear.name].stored())
        partial = {work.linears[name].parameter for name in work.experts if name in work.linears}
        for owner, leaf, name in parameters_of(block, work.prefix):
            if name not in partial:
                writer.floats(name, owner._parameters[leaf].cpu().numpy())

    def _head(self, states: States, writer: Writer) -> None:
        strategy = self.options["strategies"].get(self.source.head_name)
        if strategy is None:
            return
        given = (self.place.rows, self.source, self.stream, self.place.put(self.ids))
        solution, tokens = quantize_head(*given, states, strategy, self.options)
        self.options["tokens"][self.source.head_name] = tokens
        self.head = solution
        self._write(writer, str(self.source.head_name), solution)
        self.linears.append(solution.told(str(self.source.head_name), None, self.options["tokens"]))

    def _fingerprint(self) -> str:
        free = ("out", "threads", "lockstep", "resume", "model", "calibration", "gpu")
        decides = {key: value for key, value in self.params.items() if key not in free}
        parts = [decides, self.source.digest(), self.calibration["sha256"], versions(), VERSION]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _progress(self, index: int) -> None:
        done = [block["seconds"] for block in self.blocks]
        text = f"block {index} of {len(self.stream)}"
        if done:
            left = sum(done) / len(done) * (len(self.stream) - index)
            text += f", error {self.blocks[-1]['error']:.2e}, {resident_bytes() / 1e9:.1f} GB, {left:.0f} s left"
        self.events.progress(index, len(self.stream), text)

    def _say(self, text: str) -> None:
        self.events.progress(len(self.stream), len(self.stream), text)

    def _meta(self) -> Dict[str, Any]:
        untied = {"tie_word_embeddings": False} if self.source.tied and self._unties() else {}
        return {
            "model": self.params["model"],
            "config": untied,
            "calibration": self.calibration,
            "solver": self.params["solver"],
            "rotation": {"seed": self.params["seed"]} if self.rotated else None,
            "versions": versions(),
        }

    def _unties(self) -> bool:
        return not self.source.shares_head or self.params["embeddingBits"] is not None or self.source.head_name in self.options["strategies"]

    def _activations(self, states: States, writer: Writer) -> List[Dict[str, Any]]:
        """Grids of activations from what was seen in the blocks and is seen outside of them."""
        options, ranges = self.params["activations"], self.options["ranges"]
        if ranges is None:
            return []

        def change_head() -> None:
            put_head(self.source, self.head, self.params["embeddingBits"])

        observe_outside(self.stream, self.batches(self.ids), states.quantized, ranges.tap, change_head)
        grids = grids_of({**self.seen, **ranges.state()}, options)
        write_grids(writer, grids, options, close=False)
        self.warnings += quiet(grids, options)
        return grids

    def batches(self, ids: Any) -> List[Any]:
        """Tokens, int64 [samples, length] in numpy, as tensors in batches."""
        return list(self.place.put(ids).split(self.params["batch"]))

    def _result(self, path: str, first: int, grids: List[Dict[str, Any]]) -> Dict[str, Any]:
        with open(path, encoding="utf-8") as file:
            index = json.load(file)
        return {
            "folder": self.params["out"],
            "calibration": self.calibration,
            "blocks": self.blocks,
            "linears": self.linears,
            "activations": grids,
            "warnings": self.warnings,
            "resumedAt": first,
            "digest": index["digest"],
            "peakBytes": peak_bytes(),
            "seconds": time.monotonic() - self.started,
            "versions": versions(),
        }


def linears_of_block(work: Work) -> List[Linear]:
    """All linears of a loaded block."""
    return [weight.linear for weight in work.weights.values()]
