"""Rounding of activations: each quantizer on the inputs of the nodes that read the rounded value."""

from typing import Any, Dict, List, Tuple

from dopt.doors.tensorflow.write_back.correspondence import Place
from dopt.doors.tensorflow.write_back.graph import Edge, Graph
from dopt.doors.tensorflow.write_back.quantizers import Grid, add_quantizer, grid_of, on_tensor
from dopt.doors.tensorflow.write_back.readers import NotThere, ReaderMap


def round_activations(
    graph: Graph, opened: Graph, model: Any, places: Dict[str, Place], write_back: Dict[str, Any], numbers: Any
) -> List[Dict[str, str]]:
    """Adds the quantizers of write-back.json to ``graph``; ``opened`` is the same graph before any edit.

    An input that reads through several ONNX tensors (a tensor and its transposed twin) is rounded to each grid in turn, once
    where they are equal. Returns the activations that are not rounded, with the reason.
    """
    readers = ReaderMap(opened, model, places)
    produced = {name: place for place, node in enumerate(model.graph.node) for name in node.output}
    wanted: Dict[Edge, List[Grid]] = {}
    unmapped = []
    for activation in sorted(write_back["activations"], key=lambda each: produced.get(each["tensor"], -1)):
        tensor = activation["tensor"]
        try:
            edges = readers.edges(tensor, activation["readers"])
            grids = [_grid_at(opened, edge, activation, places[tensor], numbers) for edge in edges]
        except NotThere as reason:
            unmapped.append({"tensor": tensor, "reason": str(reason)})
            continue
        for edge, grid in zip(edges, grids):
            known = wanted.setdefault(edge, [])
            if not known or known[-1] != grid:
                known.append(grid)
    made: Dict[Tuple[str, Tuple[Grid, ...]], str] = {}
    for edge, known in wanted.items():
        source = tensor = opened.inputs(edge.node)[edge.index]
        for count, grid in enumerate(known, 1):
            key = source, tuple(known[:count])
            if key not in made:
                made[key] = add_quantizer(graph, tensor, grid)
            tensor = made[key]
        graph.redirect(edge, tensor)
    return unmapped


def _grid_at(graph: Graph, edge: Edge, activation: Any, place: Place, numbers: Any) -> Grid:
    """The grid at an edge; its channels must have an axis of their own in the tensor that is read there."""
    grid = on_tensor(grid_of(activation, numbers), place)
    if grid is None or (grid.axis is not None and graph.inputs(edge.node)[edge.index] != place.tensor):
        raise NotThere("it has a scale for each channel, and the graph stores its channels along no axis of their own")
    return grid
