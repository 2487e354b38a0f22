"""What becomes of a batch normalization that was folded into the layer before it.

Where layer and normalization belong to each other alone, the layer takes the folded weight q·s and the normalization becomes
the identity, with the corrected bias as its beta. Dividing the weight by what the normalization multiplies with would do
the same but for rounding: the network would compute with numbers that lie 10⁻⁷ beside the grid. Where one of the two serves
others as well, that division is what remains.
"""

from typing import Any, Dict, List, Optional

from dopt.doors.torch.owners import Owner, put

#: Normalizations scale by at least this much; below, a channel is dead and keeps the user's weights.
_SMALLEST = 1e-20

Layer = Dict[str, Any]
Arrays = Dict[str, Any]


def can_be_identity(layer: Layer, state: Dict[str, Any], initializers: Arrays, uses: Dict[str, int]) -> bool:
    """Whether the layer's normalization can be made the identity: all of it lies in the state dict, and serves no other.

    ``uses``: how many times the graph reads each initializer.
    """
    import numpy as np

    normalization = layer["batchNorm"]
    gamma, beta, mean, variance = (normalization[each] for each in ("gamma", "beta", "mean", "variance"))
    if mean not in state or variance not in state or not 0 < normalization["epsilon"] < 1:
        return False
    # A normalization without parameters of its own has a constant gamma and beta in the graph.
    free = gamma in state or bool(np.all(initializers[gamma] == 1))
    own = [name for name in (gamma, beta, mean, variance, layer["weight"]) if name in state or name == layer["weight"]]
    return free and (beta in state or bool(np.all(initializers[beta] == 0))) and all(uses[name] == 1 for name in own)


def make_identity(state: Dict[str, Any], layer: Layer, bias: Any, own_bias: Optional[Owner]) -> None:
    """Lets the normalization give what it takes; ``bias`` goes into the layer's own bias, or else into beta or the mean."""
    import numpy as np

    normalization = layer["batchNorm"]
    zero = np.zeros_like(bias)
    if own_bias is not None:
        put(state, own_bias, bias)
        bias = zero
    beta = normalization["beta"] in state
    values = {
        "gamma": np.ones_like(bias),
        "beta": bias,
        "mean": zero if beta else -bias,
        "variance": np.full_like(bias, unit_variance(normalization["epsilon"])),
    }
    for part, value in values.items():
        if normalization[part] in state:
            put(state, Owner(normalization[part], False, (0, bias.size)), value)


def unit_variance(epsilon: float) -> Any:
    """The float32 v with v + epsilon = 1 in float32, for 0 < epsilon < 1."""
    import numpy as np

    one, small = np.float32(1), np.float32(epsilon)
    value = one - small
    while value + small < one:
        value = np.nextafter(value, one)
    while value + small > one:
        value = np.nextafter(value, np.float32(0))
    return value


def gain_of(layer: Layer, initializers: Arrays) -> Any:
    """gamma / sqrt(variance + epsilon), float64 [channels]; None without a normalization."""
    import numpy as np

    normalization = layer["batchNorm"]
    if normalization is None:
        return None
    gamma, variance = (initializers[normalization[each]].astype(np.float64) for each in ("gamma", "variance"))
    return gamma / np.sqrt(variance + normalization["epsilon"])


def unfolded(folded: Any, gain: Any, layer: Layer, original: Any) -> Any:
    """folded / gain by output channel; channels that the normalization kills keep their own weights."""
    import numpy as np

    shaped = _gain_of_weight(gain, layer, folded.shape)
    dead = np.abs(shaped) < _SMALLEST
    value = folded / np.where(dead, 1.0, shaped)
    return np.where(np.broadcast_to(dead, value.shape), original, value).astype(np.float32)


def _gain_of_weight(gain: Any, layer: Layer, shape: Any) -> Any:
    import numpy as np

    if layer["op"] != "ConvTranspose":
        return along(gain, layer["axis"] or 0, len(shape))
    # Stored as [C_in, C_out / groups, …]: the group, and with it the output channel, follows from the input channel.
    per_group, groups = shape[1], layer["groups"]
    by_input = gain.reshape(groups, per_group)[np.arange(shape[0]) // (shape[0] // groups)]
    return by_input.reshape(by_input.shape + (1,) * (len(shape) - 2))


def along(values: Any, axis: Optional[int], rank: int) -> Any:
    """A vector shaped to multiply an array of ``rank`` along ``axis``; a single value multiplies everything."""
    shape = [1] * rank
    if axis is not None and values.size > 1:
        shape[axis] = -1
    return values.reshape(shape)


def shift_kept(
    state: Dict[str, Any], layer: Layer, gain: Any, bias: Any, own_bias: Optional[Owner], initializers: Arrays
) -> List[str]:
    """Puts the bias into a normalization that stays as it is otherwise; a note where it has no room for it."""
    import numpy as np

    normalization = layer["batchNorm"]
    before = state[own_bias.name].double().cpu().numpy() if own_bias else 0.0
    mean = initializers[normalization["mean"]].astype(np.float64)
    for name, room, value in (
        (normalization["beta"], True, bias - (before - mean) * gain),
        # A normalization without parameters of its own: its mean is what can move.
        (normalization["mean"], bool(np.all(np.abs(gain) >= _SMALLEST)), before - bias / np.where(gain == 0, 1.0, gain)),
    ):
        if name in state and room:
            put(state, Owner(name, False, (0, bias.size)), value)
            return []
    return [f"{layer['weight']}: its normalization has no beta, so its bias correction is in the ONNX model only."]
