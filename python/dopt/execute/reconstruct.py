"""Reconstruction of one layer: integers for its weights that keep its output, solved from Gram matrices.

The sums over positions and the solver are the native core's (native/include/dopt.h names the papers). Here lies what is
between them and a walk over a network: the layer as a matrix, its samples, and which of several solutions stays. They
are solved on one part of the samples and judged on the rest, so that a solution that fits noise is not taken; the one
that stays is then solved again on all samples.
"""

from dopt.native_gram import Conv2d, LayerSums, WeightGrid


class LayerView:
    """A layer with weights as matrices: one [outputs, inputs] for each of its groups.

    Made by ``view_of``. ``matrix`` and ``stored`` convert weights between the form in the model and
    [groups, outputs, inputs]; ``add`` adds one sample of the layer's input and output to sums.
    """

    def __init__(self, shape, groups, outputs, inputs):
        self.shape = shape
        self.groups, self.outputs, self.inputs = groups, outputs, inputs

    def scales(self, stored):
        """float32 [groups, outputs, 1] of scales as they are stored: one, one a channel, or one a channel of a group."""
        import numpy as np

        flat = np.asarray(stored, dtype=np.float32).reshape(-1)
        if flat.size == self.groups * self.outputs:
            flat = flat.reshape(self.groups, self.outputs)
        full = np.broadcast_to(flat, (self.groups, self.outputs))
        return np.ascontiguousarray(full)[:, :, None]


class MatrixView(LayerView):
    """Gemm or MatMul with two-dimensional weights."""

    def __init__(self, shape, transposed):
        outputs, inputs = shape if transposed else shape[::-1]
        super().__init__(shape, 1, outputs, inputs)
        self.transposed = transposed

    def matrix(self, stored):
        return _contiguous((stored if self.transposed else stored.T)[None])

    def stored(self, matrix):
        return _contiguous(matrix[0] if self.transposed else matrix[0].T)

    def add(self, core, x, y, positions, first, sums):
        x, y = x.reshape(-1, self.inputs), y.reshape(-1, self.outputs)
        step = max(1, -(-len(x) // positions))
        rows = slice(first % step, None, step)
        core.gram_matmul(_contiguous(x[rows]), _contiguous(y[rows]), sums)


class ConvView(LayerView):
    """Conv or ConvTranspose in one or two dimensions."""

    def __init__(self, shape, groups, transposed, geometry):
        channels = shape[1] if transposed else shape[0] // groups
        per_group = shape[0] // groups if transposed else shape[1]
        self.taps = int(_product(shape[2:]))
        super().__init__(shape, groups, channels, per_group * self.taps)
        self.transposed, self.per_group, self.geometry = transposed, per_group, geometry

    def matrix(self, stored):
        if not self.transposed:
            return _contiguous(stored.reshape(self.groups, self.outputs, self.inputs))
        split = stored.reshape(self.groups, self.per_group, self.outputs, self.taps)
        return _contiguous(split.transpose(0, 2, 1, 3).reshape(self.groups, self.outputs, self.inputs))

    def stored(self, matrix):
        if not self.transposed:
            return matrix.reshape(self.shape)
        split = matrix.reshape(self.groups, self.outputs, self.per_group, self.taps)
        return _contiguous(split.transpose(0, 2, 1, 3).reshape(self.shape))

    def add(self, core, x, y, positions, first, sums):
        for one, result in zip(x, y):
            conv = self._conv(one.shape, result.shape)
            core.gram_conv2d(conv, _contiguous(one), _contiguous(result), positions, first, sums)

    def _conv(self, x_shape, y_shape):
        """Geometry for one sample, [channels, (height,) width]."""
        kernel, strides, dilations = ([1] * (4 - len(self.shape)) + list(v) for v in self.geometry[:3])
        size, out = ([1] * (3 - len(x_shape)) + list(v[1:]) for v in (x_shape, y_shape))
        begin, end = self._pads(kernel, strides, dilations, size, out)
        return Conv2d(
            {
                "batch": 1,
                "in_channels": x_shape[0],
                "in_height": size[0],
                "in_width": size[1],
                "out_channels": y_shape[0],
                "kernel_height": kernel[0],
                "kernel_width": kernel[1],
                "groups": self.groups,
                "stride_height": strides[0],
                "stride_width": strides[1],
                "dilation_height": dilations[0],
                "dilation_width": dilations[1],
                "pad_top": begin[0],
                "pad_left": begin[1],
                "pad_bottom": end[0],
                "pad_right": end[1],
            },
            self.transposed,
            *out,
        )

    def _pads(self, kernel, strides, dilations, size, out):
        """Pads before and behind, in two dimensions; those of auto_pad from the sizes, as ONNX Conv defines them."""
        pads, auto = self.geometry[3:]
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            spans = [(o - 1) * s + d * (k - 1) + 1 - i for o, s, d, k, i in zip(out, strides, dilations, kernel, size)]
            totals = [max(0, span) for span in spans]
            small = [total // 2 for total in totals]
            large = [total - half for total, half in zip(totals, small)]
            return (small, large) if auto == "SAME_UPPER" else (large, small)
        if auto == "VALID" or not pads:
            return [0, 0], [0, 0]
        half = len(pads) // 2
        fill = [0] * (2 - half)
        return fill + list(pads[:half]), fill + list(pads[half:])


def view_of(node, shape, weight_index):
    """The view of a layer by its ONNX node, the shape of its weights and which input they are; None where none fits."""
    from onnx.helper import get_attribute_value

    attributes = {each.name: get_attribute_value(each) for each in node.attribute}
    if weight_index != 1:
        return None
    if node.op_type in ("Gemm", "MatMul"):
        if len(shape) != 2 or attributes.get("transA", 0):
            return None
        return MatrixView(tuple(shape), bool(attributes.get("transB", 0)))
    auto = attributes.get("auto_pad", b"NOTSET").decode()
    transposed = node.op_type == "ConvTranspose"
    pads = list(attributes.get("pads", []))
    if len(shape) not in (3, 4) or min([0, *pads]) < 0 or (transposed and auto not in ("NOTSET", "VALID")):
        return None
    spatial = len(shape) - 2
    ones = [1] * spatial
    strides, dilations = attributes.get("strides", ones), attributes.get("dilations", ones)
    geometry = (list(shape[2:]), list(strides), list(dilations), pads, auto)
    return ConvView(tuple(shape), int(attributes.get("group", 1)), transposed, geometry)


def gather(core, view, inputs, outputs, options):
    """Sums over the samples that solve and over those that judge: (LayerSums, LayerSums).

    ``inputs`` and ``outputs`` are lists of float32 arrays with a batch dimension, one a sample: what the quantized model
    feeds the layer, and the layer's output in the float model. Every ``options["heldBack"]``-th sample judges.
    """
    solving, judging = (LayerSums.empty(view.groups, view.outputs, view.inputs) for _ in range(2))
    positions = positions_of(view, len(inputs), options["operations"])
    for index, (x, y) in enumerate(zip(inputs, outputs)):
        sums = judging if index % options["heldBack"] == options["heldBack"] - 1 else solving
        view.add(core, x, y, positions, index, sums)
    return solving, judging


def positions_of(view, samples, operations):
    """Positions of a sample that are worth adding: about ``operations`` multiplications a layer, and never so few that
    the matrix stays far from its limit (16 rows an input over all samples)."""
    size = view.inputs + 1
    rows = max(16 * size, operations / (view.groups * size * size))
    return max(1, -(-int(rows) // samples))


def reconstruct(core, weights, integers, grid, solving, judging, options):
    """Integers for a layer, [groups, outputs, inputs], and how they did.

    weights
        float32 [groups, outputs, inputs]
    integers
        int8, those of rounding to nearest
    Returns (integers, {"ridge", "errors"}): the ridge whose solution stayed (-1: weights rounded with error feedback
    alone; None: nearest rounding) and the squared error of each on the judging samples, nearest rounding first.
    """
    ridges = [-1.0, *options["ridges"]]
    solved = [core.gram_reconstruct(weights, grid, solving, ridge, options["damping"]) for ridge in ridges]
    errors = [judged(core, each, grid, solving, judging) for each in [integers, *solved]]
    best = min(range(len(errors)), key=errors.__getitem__)
    if best == 0:
        return integers, {"ridge": None, "errors": errors}
    ridge = ridges[best - 1]
    whole = core.gram_reconstruct(weights, grid, solving.plus(judging), ridge, options["damping"])
    return whole, {"ridge": ridge, "errors": errors}


def judged(core, integers, grid, solving, judging):
    """Squared error on the judging samples of integers, with the bias that the solving samples give them."""
    bias = core.gram_bias(integers, grid, solving) if grid.free_bias else None
    return float(core.gram_error(integers, grid, judging, bias).sum())


def grid_of(view, scales, qmin, qmax, free_bias):
    """The grid of a layer's weights from its scales as they are stored."""
    return WeightGrid(view.scales(scales), view.inputs, qmin, qmax, free_bias)


def _contiguous(array):
    import numpy as np

    return np.ascontiguousarray(array)


def _product(values):
    result = 1
    for value in values:
        result *= value
    return result
