"""What single quantizers do to a network's outputs: one tensor is changed at a time, and what lies behind it runs again.

The network is walked from front to back. At each tensor to be changed its values are at hand for every sample, and only the
rest of the network runs with other values in their place: half a pass on average, whatever is tried. A second walk, of the
quantized network, shows what has come together so far: its tensors at the cut, fed to the rest of the first one, give the
outputs with everything quantized up to there and nothing behind.
"""

import time
from typing import Any, Dict, List, Optional, Sequence, Tuple

#: JSON has no infinity; outputs that are not finite count as this much noise.
_ENDLESS = 1e300


def sensitivity(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``sensitivity`` of src/bridge/protocol.ts. Memory: the tensors that cross one cut, for the samples that fit."""
    from dopt import native, safetensors
    from dopt.data.source import open_source
    from dopt.execute.parts import Network
    from dopt.execute.peak import peak_bytes
    from dopt.execute.session import executor_of

    started = time.monotonic()
    threads, executor = params["threads"], executor_of(params)
    feeds = [sample.feeds for sample in open_source(params["source"])]
    reference = Network(params["reference"], threads, exact=params["exact"], executor=executor)
    network = Network(params["model"], threads, exact=params["exact"], executor=executor)
    quantized = None if params["quantized"] is None else Network(params["quantized"], threads, exact=True, executor=executor)
    cuts = _cuts(network, params["probes"])
    feeds = feeds[: _affordable(network, quantized, feeds[0], cuts, params["maxBytes"])]
    values = None if params["values"] is None else safetensors.read(params["values"])
    outputs = Outputs(reference, feeds)
    bench = _Bench(network, quantized, feeds, outputs, native.load(), values)
    answers: Dict[str, Any] = {}
    for cut, probes in cuts:
        for each in probes:
            if each["change"]["kind"] == "weight":
                answers[each["name"]] = bench.weight(each["change"])
                events.progress(len(answers), len(params["probes"]), each["name"])
        bench.advance(cut)
        for each in probes:
            if each["change"]["kind"] == "activation":
                answers[each["name"]] = bench.activation(each["change"])
                events.progress(len(answers), len(params["probes"]), each["name"])
    return {
        "samples": len(feeds),
        "outputs": outputs.describe(),
        "base": outputs.noise_of(network.part(outputs.names, feeds[0]), feeds),
        "probes": [{"name": each["name"], **answers[each["name"]]} for each in params["probes"]],
        "seconds": time.monotonic() - started,
        "peakBytes": peak_bytes(),
    }


def compare_samples(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``compareSamples`` of src/bridge/protocol.ts: the noise at the outputs, sample by sample."""
    from dopt.data.source import open_source
    from dopt.execute.parts import Network
    from dopt.execute.session import executor_of

    threads, executor = params["threads"], executor_of(params)
    reference = Network(params["reference"], threads, exact=False, executor=executor)
    model = Network(params["model"], threads, exact=True, executor=executor)
    source = open_source(params["source"])
    runs: Optional[Tuple[Any, Any]] = None
    answers = []
    for sample in source:
        if runs is None:
            names = _computed(reference)
            runs = (reference.part(names, sample.feeds), model.part(names, sample.feeds))
        expected, found = (part.run(sample.feeds) for part in runs)
        pairs = [squared_error(*pair) for pair in zip(expected, found)]
        answers.append({"signal": [signal for signal, _ in pairs], "noise": [noise for _, noise in pairs]})
        events.progress(len(answers), len(source), sample.name)
    return {"samples": answers}


class Outputs:
    """The reference's outputs for every sample, and how far others are from them."""

    def __init__(self, reference: Any, feeds: Sequence[Dict[str, Any]]) -> None:
        self.names = _computed(reference)
        part = reference.part(self.names, feeds[0])
        self._expected = [part.run(feed) for feed in feeds]

    def describe(self) -> List[Dict[str, Any]]:
        """Name and energy of each output."""
        energies = [[squared_error(array, array)[0] for array in arrays] for arrays in self._expected]
        return [{"name": name, "signal": sum(row)} for name, row in zip(self.names, zip(*energies))]

    def noise(self, found: Sequence[Sequence[Any]]) -> List[float]:
        """Summed squared error of each output; ``found`` holds the arrays of each sample."""
        rows = [
            [squared_error(a, b)[1] for a, b in zip(expected, arrays)] for expected, arrays in zip(self._expected, found)
        ]
        return [min(sum(column), _ENDLESS) for column in zip(*rows)]

    def noise_of(self, part: Any, feeds: Sequence[Dict[str, Any]]) -> List[float]:
        """The noise of what a part that gives these outputs makes of ``feeds``."""
        return self.noise([part.run(feed) for feed in feeds])


class _Bench:
    """The state of the walks, and what is tried at each cut."""

    def __init__(self, network: Any, quantized: Any, feeds: Any, outputs: Outputs, core: Any, values: Any) -> None:
        from dopt.execute.parts import Walk

        self._walk = Walk(network, feeds)
        self._quantized = None if quantized is None else Walk(quantized, feeds)
        self._outputs, self._core, self._values = outputs, core, values

    def advance(self, cut: str) -> None:
        """Walks to a tensor; graph inputs are there from the beginning."""
        if not self._walk.has(cut):
            self._walk.advance([cut])

    def weight(self, change: Dict[str, Any]) -> Dict[str, Any]:
        """Puts other values in the place of a weight. The walk stands before its layer."""
        walk, names = self._walk, self._outputs.names
        plain = walk.slice([change["output"]])
        expected = [plain.run(values)[0] for values in walk.cache]
        part = walk.network.part([*names, change["output"]], walk.cache[0], [change["tensor"]])
        alternatives = []
        for name in change["values"]:
            weight = {change["tensor"]: self._values[name]}
            found = [part.run({**values, **weight}) for values in walk.cache]
            layer = _sum_errors(zip(expected, (arrays[-1] for arrays in found)))
            alternatives.append({"noise": self._outputs.noise([arrays[:-1] for arrays in found]), "layer": layer})
        return {"alternatives": alternatives, "accumulated": None, "arrived": None}

    def activation(self, change: Dict[str, Any]) -> Dict[str, Any]:
        """Puts rounded values in the place of an activation. The walk has just computed it."""
        walk, tensor, instead = self._walk, change["tensor"], change["instead"]
        given = {**walk.cache[0], instead: walk.cache[0][tensor]}
        rest = walk.network.part(self._outputs.names, given)
        layers = walk.network.part(change["watch"], given) if change["watch"] else None
        expected = [layers.run({**values, instead: values[tensor]}) for values in walk.cache] if layers else []
        alternatives = []
        for quantizer in change["quantizers"]:
            rounded = [{**values, instead: self._round(values[tensor], quantizer)} for values in walk.cache]
            noise = self._outputs.noise_of(rest, rounded)
            found = [layers.run(values) for values in rounded] if layers else []
            pairs = [pair for a, b in zip(expected, found) for pair in zip(a, b)]
            alternatives.append({"noise": noise, "layer": _sum_errors(pairs) if pairs else None})
        return {"alternatives": alternatives, **self._accumulate(tensor, instead, rest)}

    def _round(self, array: Any, quantizer: Optional[Dict[str, Any]]) -> Any:
        import numpy as np

        if quantizer is None:
            return array
        bits, signed = quantizer["bits"], quantizer["signed"]
        limits = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        scales, zero_points = np.array(quantizer["scales"], np.float32), np.array(quantizer["zeroPoints"], np.int32)
        return self._core.fake_quantize(array, quantizer["axis"], scales, zero_points, limits)

    def _accumulate(self, tensor: str, instead: str, rest: Any) -> Dict[str, Any]:
        """The outputs with everything quantized up to the cut, and the tensor itself in the quantized network."""
        walk, other = self._walk, self._quantized
        if other is None:
            return {"accumulated": None, "arrived": None}
        wanted = [name for name in dict.fromkeys([*rest.inputs, tensor, instead]) if name in other.network.producer]
        other.advance(wanted, keep=walk.crossing)
        pairs = [(mine[tensor], theirs[tensor]) for mine, theirs in zip(walk.cache, other.cache)]
        return {"accumulated": self._outputs.noise_of(rest, other.cache), "arrived": _sum_errors(pairs)}


def _computed(network: Any) -> List[str]:
    """The outputs that a node computes; an input or a constant that is handed through has no error."""
    return [name for name in network.outputs if name in network.producer]


def _cuts(network: Any, probes: Sequence[Dict[str, Any]]) -> List[Tuple[str, List[Dict[str, Any]]]]:
    """The probes by the tensor that the walk stops at, in the order of the walk."""
    groups: Dict[str, List[Dict[str, Any]]] = {}
    for each in probes:
        change = each["change"]
        groups.setdefault(change["output" if change["kind"] == "weight" else "tensor"], []).append(each)
    return sorted(groups.items(), key=lambda entry: network.producer.get(entry[0], -1))


def _affordable(network: Any, quantized: Any, feed: Dict[str, Any], cuts: Any, budget: int) -> int:
    """How many samples' tensors fit into ``budget`` bytes at every cut, found with one of them; at least one."""
    from dopt.execute.parts import Walk

    walk, most = Walk(network, [feed]), 1
    for cut, _ in cuts:
        if not walk.has(cut):
            walk.advance([cut])
        most = max(most, walk.bytes)
    return max(1, budget // (most if quantized is None else 2 * most))


def squared_error(expected: Any, found: Any) -> Tuple[float, float]:
    """Energy of ``expected``, and of ``found`` less it. Values of integer types are equal or not: they count as 1 each.

    A result of another shape, or one that is not finite where it should be, has no end of noise.
    """
    import numpy as np

    expected, found = np.asarray(expected), np.asarray(found)
    if expected.dtype.kind not in "fiub":
        return 0.0, 0.0
    if expected.dtype.kind != "f":
        differ = expected.size if expected.shape != found.shape else int((expected != found).sum())
        return float(expected.size), float(differ)
    finite = np.isfinite(expected)
    a = np.where(finite, expected, 0).astype(np.float64)
    signal = float(np.square(a).sum())
    if expected.shape != found.shape:
        return signal, _ENDLESS
    difference = np.where(finite, found, 0).astype(np.float64) - a
    noise = float(np.square(difference).sum())
    return signal, noise if np.isfinite(noise) else _ENDLESS


def _sum_errors(pairs: Any) -> Dict[str, float]:
    """Signal and noise over pairs of arrays."""
    sums = [squared_error(expected, found) for expected, found in pairs]
    return {"signal": sum(signal for signal, _ in sums), "noise": min(sum(noise for _, noise in sums), _ENDLESS)}
