"""A quantization back into the user's frozen graph.

Each layer of the ONNX form is found in the GraphDef (by name, and always by the numbers of its weight and of its result on
random inputs), gets its folded weight on the integer grid, and one BiasAdd in place of its bias and batch normalization.
Optionally every quantized activation is rounded by primitive operators that compute what QDQ ONNX computes.
"""

import json
import os
from typing import Any, Dict, List, Tuple


def write_back(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Method ``writeBack`` of src/bridge/protocol.ts for TensorFlow; writes a frozen graph, whatever form the model has.

    The same inputs give the same bytes, and the file appears under its name only when it is whole. Raises DoptError:
    those of loading the model, of ``write_back_graph``, and OUTPUT_WRITE (environment).
    """
    from dopt.doors.common.files import describe
    from dopt.doors.tensorflow.load import load_graph

    events.progress(0, 3, "reading the model")
    loaded = load_graph(params["model"])
    with open(params["writeBack"], encoding="utf-8") as file:
        plan = json.load(file)
    events.progress(1, 3, "finding the layers")
    graph_def, notes, unmapped = write_back_graph(
        loaded.graph_def, params["onnx"], plan, params["parameters"], params["borders"], params["fakeQuant"], params["model"]
    )
    events.progress(2, 3, "writing the graph")
    _save(params["out"], graph_def.SerializeToString(deterministic=True))
    events.progress(3, 3, "written")
    return {"files": [describe(params["out"])], "notes": notes, "unmapped": unmapped}


def write_back_graph(
    graph_def: Any,
    onnx_path: str,
    write_back: Dict[str, Any],
    parameters: str,
    borders: Dict[str, Any],
    fake_quant: bool,
    place: str = "the graph",
) -> Tuple[Any, List[str], List[Dict[str, str]]]:
    """A frozen GraphDef with the quantization that ``write_back`` tells (src/config/write-back.ts).

    ``onnx_path``: float.onnx, whose names it uses; ``parameters``: the safetensors file with the numbers; ``borders``: inputs
    and outputs by both names; ``place`` names the user's file in errors. ``graph_def`` is not changed.

    Returns the new GraphDef, sentences on what was special, and the activations that it does not round, each with the
    reason (none without ``fake_quant``). Raises DoptError (external): WRITE_BACK_UNMAPPED for a layer without a counterpart,
    WRITE_BACK_RUN when graph and ONNX form do not run, WRITE_BACK_CHECK when TensorFlow refuses the result.
    """
    import onnx

    from dopt import safetensors
    from dopt.doors.tensorflow.write_back.activations import round_activations
    from dopt.doors.tensorflow.write_back.cleanup import bypass_identity_n, finish
    from dopt.doors.tensorflow.write_back.correspondence import locate_tensors
    from dopt.doors.tensorflow.write_back.graph import Graph
    from dopt.doors.tensorflow.write_back.layers import LayerMap, weight_tensors
    from dopt.doors.tensorflow.write_back.probe import probe
    from dopt.doors.tensorflow.write_back.rewrite import write_layer

    model, numbers = onnx.load(onnx_path), safetensors.read(parameters)
    ends = [each["frameworkName"] for each in (*borders["inputs"], *borders["outputs"])]
    graph_def = bypass_identity_n(graph_def, ends)
    opened, graph = Graph(graph_def), Graph(graph_def)
    probed = probe(opened, graph_def, model, borders, weight_tensors(opened), place)
    places = locate_tensors(opened, model, borders, probed.onnx, probed.tensorflow)
    layer_map = LayerMap(opened, model, places, probed.constants, place)
    layers = [layer_map.find(entry) for entry in write_back["layers"]]
    notes: List[str] = []
    unmapped = round_activations(graph, opened, model, places, write_back, numbers) if fake_quant else []
    for mapped in layers:
        write_layer(graph, mapped, numbers, notes)
    return finish(graph, opened, ends, place), notes, unmapped


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


