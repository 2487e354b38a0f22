"""The settings file: written for a network's layers, read with its mistakes named, and resolved to a strategy a layer."""

import fnmatch
import json
import os
import warnings
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from dopt.errors import DoptError
from dopt.plugin import schema
from dopt.plugin.lenient import read_json
from dopt.plugin.near import near_matches
from dopt.plugin.strategies import DEFAULT_STRATEGY, SCHEMES, FLOAT


class LayerName(NamedTuple):
    """How a layer is called: by its place in the network and, in settings files, with its kind behind a slash."""

    path: str
    #: Type as the framework calls it: Conv2d, Linear, MatMul.
    op_type: str
    #: What the original writes behind the slash: Conv2D.
    suffix: str

    @property
    def key(self) -> str:
        """The name in a settings file: ``layer1.0.conv1/Conv2D``. Nodes of a graph are called by their name alone."""
        return f"{self.path}/{self.suffix}" if self.suffix else self.path


class PluginConfig(NamedTuple):
    """A settings file that was read. ``strategies``: (name or pattern, type or None, strategy) in the file's order."""

    path: str
    inputs: Dict[str, Tuple[int, ...]]
    params_version: str
    strategies: List[Tuple[str, Any, str]]


def parse_shapes(text: str, place: str = "input_shape") -> Dict[str, Tuple[int, ...]]:
    """``"x:1,3,32,32;mask:1,32"`` by input. Raises DoptError PLUGIN_INPUT_SHAPE."""
    shapes: Dict[str, Tuple[int, ...]] = {}
    for part in filter(str.strip, text.split(";")):
        name, colon, sizes = part.partition(":")
        name = name.strip()
        try:
            shape = tuple(int(size) for size in sizes.split(","))
        except ValueError:
            shape = ()
        if not colon or not name or not shape or min(shape) < 1 or name in shapes:
            raise _shape_error(text, part, place)
        shapes[name] = shape
    if not shapes:
        raise _shape_error(text, text, place)
    return shapes


def _shape_error(text: str, part: str, place: str) -> DoptError:
    return DoptError(
        "PLUGIN_INPUT_SHAPE",
        f"{place}: {part.strip()!r} is no shape of an input.",
        place=place,
        found=text,
        suggestions=['Write each input once, with its sizes: "input:1,3,224,224;mask:1,224"'],
    )


def write_config(
    path: str,
    layers: Sequence[LayerName],
    input_shape: str,
    strategy: str = DEFAULT_STRATEGY,
    params_version: str = "v2",
) -> None:
    """A settings file with ``strategy`` for every layer. Raises DoptError OUTPUT_WRITE."""
    parse_shapes(input_shape)
    types = sorted({layer.op_type for layer in layers})
    content: Dict[str, Any] = {f"quant_strategy_for op '{kind}'": [FLOAT, *SCHEMES] for kind in types}
    content["input_shape"] = input_shape
    content["params_version"] = params_version
    content["layer_strategy"] = {
        layer.key: {"op_type": layer.op_type, "quant_strategy": strategy} for layer in layers
    }
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise DoptError(
            "OUTPUT_WRITE", f"Cannot write {path}: {error.strerror}.", kind="environment", place=path
        ) from error


def read_config(path: str) -> PluginConfig:
    """Reads and checks a settings file; what JSON forbids but people write is warned of. Raises DoptError PLUGIN_CONFIG."""
    path = os.fspath(path)
    value, notes = read_json(path, "PLUGIN_CONFIG")
    value, comments = _without_comments(value)
    notes += [f'{path}: "{key}" is read as a comment.' for key in comments]
    found = list(schema.faults(value, schema.load("config.schema.json")))
    if found:
        raise _config_error(path, found)
    for note in notes:
        warnings.warn(note, stacklevel=3)
    strategies = [
        (name, layer.get("op_type"), layer["quant_strategy"]) for name, layer in value["layer_strategy"].items()
    ]
    shapes = parse_shapes(value["input_shape"], f"{path}: input_shape")
    return PluginConfig(path, shapes, value.get("params_version", "v2"), strategies)


def _without_comments(value: Any) -> Tuple[Any, List[str]]:
    """The value without keys that begin with //, at any depth, and those keys."""
    if not isinstance(value, dict):
        return value, []
    kept, comments = {}, []
    for key, member in value.items():
        if key.startswith("//"):
            comments.append(key)
            continue
        kept[key], inner = _without_comments(member)
        comments += inner
    return kept, comments


def _config_error(path: str, found: List[schema.Fault]) -> DoptError:
    def text(fault: schema.Fault) -> str:
        return f"{'.'.join(fault.path) or 'the file'}: {fault.message}"

    hints = [f"For {fault.path[-1]!r}, did you mean {' or '.join(map(repr, fault.near))}?" for fault in found if fault.near]
    listed = "".join(f"\n  {text(fault)}" for fault in found[1:10])
    return DoptError(
        "PLUGIN_CONFIG",
        f"{path}: {text(found[0])}.{listed}",
        place=path,
        suggestions=[*hints, "Write a fresh file with generate_config_file() and change that."],
    )


def resolve(config: PluginConfig, layers: Sequence[LayerName]) -> Dict[str, str]:
    """The strategy of each layer by path. A name counts more than a pattern, a later pattern more than an earlier one.

    Layers that nothing names stay float, as with the original. Raises DoptError PLUGIN_LAYER_UNKNOWN for names and
    patterns that fit no layer, PLUGIN_LAYER_TYPE for a layer of another type than the file says: the settings are then
    those of another network.
    """
    strategies = {layer.path: FLOAT for layer in layers}
    unknown = []
    for pass_ in ("patterns", "names"):
        for name, op_type, strategy in config.strategies:
            if _is_pattern(name) != (pass_ == "patterns"):
                continue
            fitting = [layer for layer in layers if _fits(name, layer)]
            if not fitting and name != "*":
                unknown.append(name)
            for layer in fitting:
                _check_type(config.path, name, op_type, layer)
                strategies[layer.path] = strategy
    if unknown:
        raise _unknown(config.path, unknown, layers)
    return strategies


def _is_pattern(name: str) -> bool:
    return "*" in name or "?" in name


def _fits(name: str, layer: LayerName) -> bool:
    if _is_pattern(name):
        return fnmatch.fnmatchcase(layer.path, name) or fnmatch.fnmatchcase(layer.key, name)
    return name in (layer.path, layer.key) or name.rsplit("/", 1)[0] == layer.path


def _check_type(path: str, name: str, op_type: Any, layer: LayerName) -> None:
    known = {layer.op_type.lower(), layer.suffix.lower()}
    if op_type is None or op_type.lower() in known or _is_pattern(name):
        return
    raise DoptError(
        "PLUGIN_LAYER_TYPE",
        f"{path}: {name} is a {layer.op_type} in this network, not a {op_type}.",
        place=path,
        found=layer.op_type,
        suggestions=["Are these the settings of another network? generate_config_file() writes those of this one."],
    )


def _unknown(path: str, names: List[str], layers: Sequence[LayerName]) -> DoptError:
    keys = {layer.path: layer.key for layer in layers}
    hints = []
    for name in names[:3]:
        near = [keys[path] for path in near_matches(name.split("/")[0], keys)]
        if near:
            hints.append(f"For {name!r}, did you mean {' or '.join(map(repr, near))}?")
    listed = ", ".join(repr(name) for name in names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return DoptError(
        "PLUGIN_LAYER_UNKNOWN",
        f"{path}: this network has no layer {listed}.",
        place=path,
        found=listed,
        suggestions=[*hints, "generate_config_file() lists the layers of this network."],
    )
