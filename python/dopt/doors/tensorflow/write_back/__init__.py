"""A quantization back into the user's frozen graph.

Each layer of the ONNX form is found in the GraphDef (by name, and always by the numbers of its weight and of its result on
random inputs), gets its folded weight on the integer grid, and one BiasAdd in place of its bias and batch normalization.
Optionally every quantized activation is rounded by primitive operators that compute what QDQ ONNX computes.
"""

import json
import os
from typing import Any, Dict, List, Tuple


def write_back(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``writeBack`` of src/bridge/protocol.ts for TensorFlow; writes frozen graphs, whatever form the model has.

    The same inputs give the same bytes, and a file appears under its name only when it is whole. Raises DoptError:
    those of loading the model, of ``WriteBack``, and OUTPUT_WRITE (environment).
    """
    from dopt.doors.common.files import describe
    from dopt.doors.tensorflow.load import load_graph

    events.progress(0, 3, "reading the model")
    loaded = load_graph(params["model"], params["trustCode"])
    with open(params["writeBack"], encoding="utf-8") as file:
        plan = json.load(file)
    events.progress(1, 3, "finding the layers")
    found = WriteBack(
        loaded.graph_def, params["onnx"], plan, params["parameters"], params["borders"], params["model"]
    )
    events.progress(2, 3, "writing the graph")
    graph_def, notes, unmapped = found.graph(False)
    _save(params["out"], graph_def.SerializeToString(deterministic=True))
    files = [describe(params["out"])]
    if params["fakeQuantOut"] is not None:
        graph_def, notes, unmapped = found.graph(True)
        _save(params["fakeQuantOut"], graph_def.SerializeToString(deterministic=True))
        files.append(describe(params["fakeQuantOut"]))
    events.progress(3, 3, "written")
    return {"files": files, "notes": notes, "unmapped": unmapped}


class WriteBack:
    """The layers of an ONNX form in the graph that it was converted from, and the graph with their quantization.

    ``write_back``: what src/config/write-back.ts describes; ``onnx_path``: float.onnx, whose names it uses; ``parameters``:
    the safetensors file with the numbers; ``borders``: inputs and outputs by both names; ``place`` names the user's file in
    errors. ``graph_def`` is not changed. Raises DoptError (external): WRITE_BACK_UNMAPPED for a layer without a
    counterpart, WRITE_BACK_RUN when graph and ONNX form do not run.
    """

    def __init__(
        self,
        graph_def: Any,
        onnx_path: str,
        write_back: Dict[str, Any],
        parameters: str,
        borders: Dict[str, Any],
        place: str = "the graph",
    ) -> None:
        import onnx

        from dopt import safetensors
        from dopt.doors.tensorflow.write_back.cleanup import bypass_identity_n
        from dopt.doors.tensorflow.write_back.correspondence import locate_tensors
        from dopt.doors.tensorflow.write_back.graph import Graph
        from dopt.doors.tensorflow.write_back.layers import LayerMap, added_tensors, weight_tensors
        from dopt.doors.tensorflow.write_back.probe import probe

        self._place, self._plan = place, write_back
        self._model, self._numbers = onnx.load(onnx_path), safetensors.read(parameters)
        self._ends = [each["frameworkName"] for each in (*borders["inputs"], *borders["outputs"])]
        self._graph_def = bypass_identity_n(graph_def, self._ends)
        self._opened = opened = Graph(self._graph_def)
        probed = probe(opened, self._graph_def, self._model, borders, weight_tensors(opened) | added_tensors(opened), place)
        self._places = locate_tensors(opened, self._model, borders, probed.onnx, probed.tensorflow)
        layers = LayerMap(opened, self._model, self._places, probed.constants, place)
        self._layers = [layers.find(entry) for entry in write_back["layers"]]

    def graph(self, fake_quant: bool) -> Tuple[Any, List[str], List[Dict[str, str]]]:
        """The GraphDef with weights on the grid, and with ``fake_quant`` with rounded activations.

        Also sentences on what was special, and the activations that it does not round, each with the reason (none without
        ``fake_quant``). Raises DoptError WRITE_BACK_CHECK (external) when TensorFlow refuses the result.
        """
        from dopt.doors.tensorflow.write_back.activations import round_activations
        from dopt.doors.tensorflow.write_back.cleanup import finish
        from dopt.doors.tensorflow.write_back.graph import Graph
        from dopt.doors.tensorflow.write_back.rewrite import write_layer

        graph = Graph(self._graph_def)
        notes: List[str] = []
        unmapped: List[Dict[str, str]] = []
        if fake_quant:
            unmapped = round_activations(graph, self._opened, self._model, self._places, self._plan, self._numbers)
        for mapped in self._layers:
            write_layer(graph, mapped, self._numbers, notes)
        return finish(graph, self._opened, self._ends, self._place), notes, unmapped


def _save(path: str, data: bytes) -> None:
    from dopt.data.raw import write_error

    part = f"{path}.part"
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        if os.path.exists(part):
            os.remove(part)


