"""Settings, from a file or from arguments, as a decision a layer: what both frameworks' plug-ins build from."""

import os
from collections import Counter
from typing import Dict, List, Mapping, NamedTuple, Sequence, Union

from dopt.errors import DoptError
from dopt.plugin.config import LayerName, PluginConfig, parse_shapes, read_config, resolve
from dopt.plugin.numbers import FloatLayer
from dopt.plugin.strategies import METHODS, Scheme, scheme_of


class Choice(NamedTuple):
    """``schemes`` of the layers that are quantized, by path; ``float_layers``: those that the settings leave out."""

    schemes: Dict[str, Scheme]
    float_layers: List[FloatLayer]
    #: Widths of most layers: int8-8.
    widths: str
    #: Name of the target whose placement is used.
    target: str


def settings(inputs: str, strategies: Union[str, Mapping[str, str]], params_version: str) -> PluginConfig:
    """``inputs`` is the path of a settings file, or shapes, to which ``strategies`` belong: one, or by name and pattern."""
    if ":" not in inputs and os.path.exists(inputs):
        return read_config(inputs)
    given = {"*": strategies} if isinstance(strategies, str) else strategies
    chosen = [(name, None, strategy) for name, strategy in given.items()]
    return PluginConfig("the strategies given", parse_shapes(inputs), params_version, chosen)


def choose(config: PluginConfig, layers: Sequence[LayerName], method: str) -> Choice:
    """What becomes of each layer. Raises DoptError PLUGIN_METHOD, and those of ``resolve`` for settings that do not fit."""
    if method not in METHODS:
        raise DoptError(
            "PLUGIN_METHOD",
            f"There is no quantizer {method!r}.",
            found=method,
            suggestions=[f"Give one of {', '.join(METHODS)}."],
        )
    strategies = resolve(config, layers)
    schemes = {path: scheme for path, scheme in ((p, scheme_of(s)) for p, s in strategies.items()) if scheme}
    most = Counter(scheme.widths for scheme in schemes.values()).most_common(1)
    left = [
        FloatLayer(layer.path, layer.op_type, "float in the settings") for layer in layers if layer.path not in schemes
    ]
    target = "kirin9020" if config.params_version == "v2" else "kirin9000"
    return Choice(schemes, left, most[0][0] if most else "int8-8", target)
