"""Where a graph begins and ends: placeholders that matter, results that nothing reads, and names as users write them."""

import difflib
from typing import Any, Dict, List, Optional, Set

from dopt.doors.tensorflow.load import LoadedGraph
from dopt.errors import DoptError

#: Nodes that end a graph without being a result.
_NO_RESULT = {"NoOp", "Assert", "Print", "PrintV2", "Const", "Placeholder", "MergeSummary", "ScalarSummary", "HistogramSummary"}


def tensor_name(name: str) -> str:
    """``x`` as ``x:0``; ``x:1`` stays."""
    return name if ":" in name else name + ":0"


def border_names(inputs: List[str], outputs: List[str], output_names: Dict[str, str]) -> Dict[str, str]:
    """What the tensors are called in the ONNX form: as the model calls its outputs, else as their node.

    Where two would have the same name, they keep those that they have in the graph.
    """
    tensors = dict.fromkeys([*inputs, *outputs])
    wanted = {name: source(name) if name.endswith(":0") else name for name in tensors}
    wanted.update({name: output_names[name] for name in outputs if name in output_names})
    taken = list(wanted.values())
    return {name: new if taken.count(new) == 1 else name for name, new in wanted.items()}


def find_outputs(loaded: LoadedGraph, path: str, wanted: Optional[List[str]]) -> List[str]:
    """The tensors that the user named, else the model's own, else what no node reads.

    Raises DoptError MODEL_OUTPUT with near matches.
    """
    graph_def, own = loaded.graph_def, {new: name for name, new in loaded.output_names.items()}
    nodes = {node.name for node in graph_def.node}
    if wanted is not None:
        for name in wanted:
            if name not in own and name.split(":")[0] not in nodes:
                near = difflib.get_close_matches(name.split(":")[0], [*own, *nodes], n=3, cutoff=0.6)
                ends = list(own) or _ends(graph_def)
                raise DoptError(
                    "MODEL_OUTPUT",
                    f"{path} has no tensor {name!r}. Its graph ends in {', '.join(ends[:5])}.",
                    place=path,
                    suggestions=[f"Did you mean {' or '.join(near)}?"] if near else [f"Use --outputs {ends[0]}"],
                )
        return [own.get(name) or tensor_name(name) for name in wanted]
    outputs = loaded.outputs or [tensor_name(name) for name in _ends(graph_def)]
    if not outputs:
        raise DoptError("MODEL_OUTPUT", f"The graph in {path} gives no result.", place=path, suggestions=["Name one: --outputs NAME"])
    return outputs


def _ends(graph_def: Any) -> List[str]:
    """Nodes that no node reads and that depend on a placeholder, in the graph's order."""
    read = {source(name) for node in graph_def.node for name in node.input}
    fed = _downstream(graph_def)
    return [n.name for n in graph_def.node if n.name not in read and n.op not in _NO_RESULT and n.name in fed]


def _downstream(graph_def: Any) -> Set[str]:
    readers: Dict[str, List[str]] = {}
    for node in graph_def.node:
        for name in node.input:
            readers.setdefault(source(name), []).append(node.name)
    stack = [node.name for node in graph_def.node if node.op == "Placeholder"]
    reached: Set[str] = set()
    while stack:
        name = stack.pop()
        if name not in reached:
            reached.add(name)
            stack.extend(readers.get(name, []))
    return reached


def needed(graph_def: Any, outputs: List[str], stop: Set[str]) -> Set[str]:
    """Names of nodes that the outputs depend on; nodes of ``stop`` are reached but not passed."""
    nodes = {node.name: node for node in graph_def.node}
    stack, reached = [source(name) for name in outputs], set()
    while stack:
        name = stack.pop()
        if name in reached or name not in nodes:
            continue
        reached.add(name)
        if name not in stop:
            stack.extend(source(each) for each in nodes[name].input)
    return reached


def source(name: str) -> str:
    """The node that a graph input string (``^x``, ``x:1``, ``x``) refers to."""
    return name.lstrip("^").split(":")[0]


def placeholders(graph_def: Any, outputs: List[str]) -> List[str]:
    """Placeholders that the outputs depend on, in the graph's order."""
    reached = needed(graph_def, outputs, set())
    return [node.name + ":0" for node in graph_def.node if node.op == "Placeholder" and node.name in reached]


def input_shapes(
    path: str, known: Dict[str, Optional[List[Optional[int]]]], given: Dict[str, List[int]]
) -> Dict[str, List[Optional[int]]]:
    """The shape of each input: what the user gave, else what the graph says; only the batch may stay open.

    Raises DoptError MODEL_INPUT_SHAPE that says what was found and proposes what to give.
    """
    wanted = {tensor_name(name): shape for name, shape in given.items()}
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4) or list(known)[:1]
            raise DoptError(
                "MODEL_INPUT_SHAPE",
                f"{path} has no input {name[:-2]!r}; its inputs are {', '.join(each[:-2] for each in known)}.",
                place=path,
                suggestions=[f"Did you mean {near[0][:-2]}?"] if near else [],
            )
    shapes: Dict[str, List[Optional[int]]] = {}
    for name, shape in known.items():
        if name in wanted:
            if shape is not None and (len(shape) != len(wanted[name]) or any(a not in (None, b) for a, b in zip(shape, wanted[name]))):
                raise DoptError(
                    "MODEL_INPUT_SHAPE",
                    f"{path}: input {name[:-2]!r} is {_text(shape)}, which {_text(wanted[name])} does not fit.",
                    place=path,
                    suggestions=["Sizes that the graph fixes cannot be changed; give its own, or leave --input-shape out."],
                )
            shapes[name] = list(wanted[name])
            continue
        if shape is None or any(size is None for size in shape[1:]):
            proposal = ",".join("1" if place == 0 else str(size or 224) for place, size in enumerate(shape or [None, None, None, 3]))
            raise DoptError(
                "MODEL_INPUT_SHAPE",
                f"{path}: the shape of input {name[:-2]!r} is open: {_text(shape)}.",
                place=path,
                suggestions=[f'Give it: --input-shape "{name[:-2]}:{proposal}"'],
            )
        shapes[name] = list(shape)
    return shapes


def _text(shape: Any) -> str:
    return "of unknown rank" if shape is None else "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"
