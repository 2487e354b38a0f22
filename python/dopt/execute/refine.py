"""Layer-by-layer refinement of a quantized model against its float original, on cached activations.

Both models are walked in lockstep (see ``slices``), each running once over the samples. At every layer, with all
layers before it quantized and refined already:

0. Aim. A layer whose output is a term of a sum aims at the float output plus what the other term has lost, so that the
   sum comes out right: the error of a residual block, not of its last layer (the block objective of Li et al., BRECQ,
   arXiv 2102.05426, section 3.2, for blocks that end in a sum).
1. Range choice. The layer's input is quantized with each candidate range in turn; the candidate whose layer output
   lies closest to the float output stays. Ranking ranges by the error of the tensor itself overrates values that
   the next layer's weights ignore.
2. Reconstruction of the weights (see ``reconstruct``): integers that make up for what quantization before the layer
   did to its input, and for one another's rounding.
3. Sequential empirical bias correction (Nagel et al., Data-Free Quantization, arXiv 1906.04721, section 4.2).
   Quantization shifts the mean of a layer's output, E[W_q x_q + b] differs from E[W x + b]; the shift is measured per
   output channel and added to the bias. Doing all layers at once, or with uncorrected inputs, gains much less.
   Behind an activation function an error counts as much as comes through it (the objective of Nagel et al., AdaRound,
   arXiv 2004.10568, eq. 25): what a ReLU cuts off does not.
"""
import time

import numpy as np

from dopt.execute.reconstruct import gather, grid_of, reconstruct, view_of


def refine(params, events):
    """Method ``refine`` of src/bridge/protocol.ts."""
    from dopt import native, safetensors
    from dopt.data.source import open_source
    from dopt.execute.session import executor_of
    from dopt.execute.slices import SlicedModel

    started = time.monotonic()
    layers, threads, executor = params["layers"], params["threads"], executor_of(params)
    feeds = [sample.feeds for sample in open_source(params["source"])]
    if not feeds:
        raise ValueError("refinement needs at least one sample")
    core = native.load()
    core.set_threads(threads)
    reference = SlicedModel(params["float"], [layer["floatOutput"] for layer in layers], feeds, threads, executor=executor)
    quantized = SlicedModel(
        params["quantized"], [layer["quantizedOutput"] for layer in layers], feeds, threads, first_choices(layers), executor
    )
    weights = Weights(core, quantized, params, feeds)
    shifts, answers = {}, []
    for index, layer in enumerate(layers):
        events.check_cancelled()
        reference.prepare()
        reference.compute()
        quantized.prepare(keep=weights.inputs_of(layer))
        expected = aim(reference.values(layer["floatOutput"]), layer["sum"], reference, quantized)
        errors, chosen = choose_range(layer["choice"], quantized, expected, params["rangeRule"])
        quantized.compute()
        before = squared_error(expected, quantized.values(layer["quantizedOutput"]))
        solution = weights.reconstruct(layer, expected)
        found = quantized.values(layer["quantizedOutput"])
        after = squared_error(expected, found)
        if layer["correctBias"]:
            activation = reference.function(layer["floatOutput"], layer["activated"]) if layer["activated"] else None
            shift = bias_shift(expected, found, layer["axis"], activation)
            corrected = [value + broadcast(shift, value.ndim, layer["axis"]) for value in found]
            if squared_error(expected, corrected, activation) < squared_error(expected, found, activation):
                quantized.replace(layer["quantizedOutput"], corrected)
                shifts[layer["name"]], after = shift, squared_error(expected, corrected)
        answers.append(
            {
                "name": layer["name"],
                "chosen": chosen,
                "candidateErrors": errors,
                "reconstruction": solution,
                "errorBefore": before,
                "errorAfter": after,
                "power": mean_square(expected),
            }
        )
        events.progress(index + 1, len(layers), layer["name"])
    safetensors.write(params["out"], {**{"shift/" + name: shift for name, shift in shifts.items()}, **weights.solved()})
    return {
        "parameters": params["out"],
        "samples": len(feeds),
        "layers": answers,
        "seconds": time.monotonic() - started,
    }


def aim(outputs, term, reference, quantized):
    """What a layer's output ought to be, one float32 array a sample: ``outputs`` of the float layer, plus what the other
    ``term`` of the sum that they go into has lost in the quantized model. Without a term at hand, ``outputs``."""
    found = [name for name in term["quantized"] if quantized.has(name)] if term is not None else []
    if not found or not reference.has(term["float"]):
        return outputs
    lost = [wanted - got for wanted, got in zip(reference.values(term["float"]), quantized.values(found[0]))]
    # Where the sum repeats a term along an axis, the loss of one value is spread over several.
    if any(one.shape != output.shape for one, output in zip(lost, outputs)):
        return outputs
    return [output + one for output, one in zip(outputs, lost)]


def choose_range(choice, quantized, expected, rule="widest"):
    """Takes one of the candidate ranges: (mean squared output error of each, index taken), ([], None) without a choice.

    With ``rule`` "least" the best one. With "widest" the widest candidate that is no worse than the best by more than one standard error of their difference over samples
    (the one-standard-error rule: Breiman et al., Classification and Regression Trees, 1984, section 3.4.3). A clip is
    paid for by rare large values: where the samples cannot tell whether it gains, what they did not show may need it.
    """
    if choice is None or not quantized.produced_now(choice["tensor"]):
        return [], None
    errors = np.array(
        [
            [squared_error([e], [f]) for e, f in zip(expected, quantized.attempt(candidate_variables(choice, each)))]
            for each in choice["candidates"]
        ]
    )
    scales = [candidate["scale"] for candidate in choice["candidates"]]
    chosen = widest_of_the_good(errors, scales) if rule == "widest" else int(np.argmin(errors.mean(axis=1)))
    quantized.variables.update(candidate_variables(choice, choice["candidates"][chosen]))
    return errors.mean(axis=1).tolist(), chosen


def widest_of_the_good(errors, scales):
    """Index of the largest scale whose errors [candidates, samples] are within a standard error of the best ones."""
    excess = errors - errors[np.argmin(errors.mean(axis=1))]
    samples = errors.shape[1]
    spread = excess.std(axis=1, ddof=1) / np.sqrt(samples) if samples > 1 else np.zeros(len(errors))
    good = np.flatnonzero(excess.mean(axis=1) <= spread)
    return int(max(good, key=lambda index: scales[index]))


class Weights:
    """The integer weights of the layers that the walk reconstructs, as variables of the quantized model."""

    def __init__(self, core, quantized, params, feeds):
        from onnx import numpy_helper

        from dopt import safetensors

        self.core, self.model, self.options = core, quantized, params["reconstruction"]
        self.floats = safetensors.read(params["weights"]) if params["weights"] else {}
        self.views, self.changed = {}, set()
        nodes = {node.name: node for node in quantized.model.graph.node}
        for layer in params["layers"]:
            if layer["name"] not in self.floats:
                continue
            node, prefix = nodes[layer["name"]], weight_prefix(layer["name"])
            index = list(node.input).index(prefix + "/dequantized")
            view = view_of(node, self.floats[layer["name"]].shape, index)
            if view is None or view.inputs > self.options["inputs"]:
                continue
            self.views[layer["name"]] = (view, node.input[1 - index])
            for part in ("/quantized", "/scale"):
                initializer = quantized.initializers[prefix + part]
                quantized.variables[prefix + part] = numpy_helper.to_array(initializer)

    def inputs_of(self, layer):
        """The tensor that a layer to be reconstructed reads in the quantized model."""
        return [self.views[layer["name"]][1]] if layer["name"] in self.views else []

    def reconstruct(self, layer, expected):
        """Solves a layer on the open slice and computes that anew; what was solved, or None."""
        if layer["name"] not in self.views:
            return None
        view, source = self.views[layer["name"]]
        prefix = weight_prefix(layer["name"])
        variables = self.model.variables
        integers = view.matrix(variables[prefix + "/quantized"])
        limit = self.options["limit"]
        grid = grid_of(view, variables[prefix + "/scale"], -limit, limit, layer["hasBias"])
        solving, judging = gather(self.core, view, self.model.values(source), expected, self.options)
        if not solving.count or not judging.count:
            return None
        solved, report = reconstruct(
            self.core, view.matrix(self.floats[layer["name"]]), integers, grid, solving, judging, self.options
        )
        if report["ridge"] is not None:
            variables[prefix + "/quantized"] = view.stored(solved)
            self.changed.add(layer["name"])
            self.model.compute()
        return report

    def solved(self):
        """Weights of the layers that did not keep nearest rounding, float32 on their grids, under ``weight/NAME``."""
        return {"weight/" + name: self._on_grid(name) for name in sorted(self.changed)}

    def _on_grid(self, name):
        view, prefix = self.views[name][0], weight_prefix(name)
        integers = view.matrix(self.model.variables[prefix + "/quantized"])
        return view.stored(integers * view.scales(self.model.variables[prefix + "/scale"]))


def weight_prefix(layer):
    """What the initializers of a layer's weights are named by in the quantized model (src/quantize/apply.ts)."""
    return layer + "/weight"


def first_choices(layers):
    """Initial values of all quantizer parameters that a choice may change."""
    variables = {}
    for layer in layers:
        if layer["choice"] is not None:
            variables.update(candidate_variables(layer["choice"], layer["choice"]["candidates"][0]))
    return variables


def candidate_variables(choice, candidate):
    """The scale and zero point initializers that a candidate sets: its tensor's and those of tensors sharing them."""
    dtype = np.dtype(choice["dtype"])
    variables = {}
    for tensor in [choice["quantizer"]] + choice["shared"]:
        variables[tensor + "/scale"] = np.array(candidate["scale"], dtype=np.float32)
        variables[tensor + "/zero_point"] = np.array(candidate["zeroPoint"], dtype=dtype)
    return variables


def bias_shift(expected, found, axis, activation=None):
    """What to add to the bias: mean of (expected - found) per channel, shrunk by how far it can be trusted.

    ``expected`` and ``found`` are lists of float32 arrays, one a sample, with channels on ``axis``. With an ``activation``
    (array to array) the mean is that which leaves the least squared error behind it: each difference weighs as the square
    of the secant's slope, (f(expected) - f(found)) / (expected - found). Samples are independent draws; the positive-part
    James-Stein factor 1 - se^2/mean^2 over them keeps a channel whose mean error cannot be told from chance (few samples,
    1x1 maps) as it is; se is that of a ratio of means (Cochran, Sampling Techniques, 1977, eq. 2.46). Returns float32
    [channels].
    """
    sums = [weighted_means(e, f, axis, activation) for e, f in zip(expected, found)]
    differences, weights = (np.stack(each) for each in zip(*sums))
    weight = weights.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(weight > 0, differences.mean(axis=0) / weight, 0.0)
        if len(sums) > 1:
            residuals = (differences - mean * weights) / weight
            standard_error = np.square(residuals).sum(axis=0) / (len(sums) - 1) / len(sums)
            mean = np.where(mean == 0, 0.0, mean * np.maximum(0.0, 1.0 - standard_error / (mean * mean)))
    return mean.astype(np.float32)


def weighted_means(expected, found, axis, activation=None):
    """Means of weight * (expected - found) and of the weight over every axis but ``axis``, in float64: [channels] each."""
    difference = expected.astype(np.float64) - found
    over = tuple(i for i in range(difference.ndim) if i != axis % difference.ndim)
    if activation is None:
        means = difference.mean(axis=over)
        return means, np.ones_like(means)
    behind = activation(expected).astype(np.float64) - activation(found)
    # Of values that are almost equal the slope is rounding noise, and their differences mean nothing.
    told_apart = np.abs(difference) > 1e-4 * np.sqrt(np.square(difference).mean())
    slope = np.divide(behind, difference, out=np.zeros_like(behind), where=told_apart)
    weight = np.square(slope)
    return (weight * difference).mean(axis=over), weight.mean(axis=over)


def broadcast(vector, ndim, axis):
    """A per-channel vector shaped to be added to an array of ``ndim`` dimensions."""
    shape = [1] * ndim
    shape[axis] = -1
    return vector.reshape(shape)


def squared_error(expected, found, function=None):
    """Mean of (expected - found)^2 over all elements of all samples, behind a ``function`` from array to array if given."""
    if function is not None:
        expected, found = (map(function, each) for each in (expected, found))
    return mean_square([e.astype(np.float64) - f for e, f in zip(expected, found)])


def mean_square(arrays):
    """Mean of the squared elements of all arrays, in float64."""
    total = sum(float(np.square(a, dtype=np.float64).sum()) for a in arrays)
    return total / max(1, sum(a.size for a in arrays))
