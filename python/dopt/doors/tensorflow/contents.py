"""What a TensorFlow model would do on this machine beyond computing: found in the file before anything of it is run."""

from typing import Any, Iterator, List, Set, Tuple

from dopt.errors import DoptError
from dopt.json_text import parse

#: Operators that write files or call Python. None of them is part of a network.
_HOST = {
    *("WriteFile", "Save", "SaveSlices", "SaveV2", "MergeV2Checkpoints"),
    *("PyFunc", "PyFuncStateless", "EagerPyFunc"),
    *("CreateSummaryFileWriter", "CreateSummaryDbWriter", "WriteSummary", "WriteRawProtoSummary", "WriteGraphSummary"),
    *("WriteScalarSummary", "WriteHistogramSummary", "WriteImageSummary", "WriteAudioSummary"),
    *("DebugIdentity", "DebugIdentityV2", "DebugNanCount", "DebugNumericSummary", "DebugNumericSummaryV2"),
}


def host_operators(graph_def: Any, reached: Set[str]) -> List[Tuple[str, str]]:
    """(name, operator) of each node that reaches beyond a GraphDef: of those ``reached``, and of the functions in it."""
    nodes = [node for node in graph_def.node if node.name in reached]
    functions = [node for function in graph_def.library.function for node in function.node_def]
    return [(node.name, node.op) for node in [*nodes, *functions] if node.op in _HOST or _prints_to_file(node)]


def _prints_to_file(node: Any) -> bool:
    return node.op == "PrintV2" and node.attr["output_stream"].s.startswith(b"file:")


def refuse_host_operators(graph_def: Any, reached: Set[str], path: str) -> None:
    """Raises DoptError MODEL_REACHES_OUT where nodes that are about to be run hold such an operator."""
    found = host_operators(graph_def, reached)
    if found:
        name, operator = found[0]
        raise DoptError(
            "MODEL_REACHES_OUT",
            f"{path} would write files or call Python when it is run: {operator} at {name!r}"
            + (f", and {len(found) - 1} more." if len(found) > 1 else "."),
            place=path,
            suggestions=[
                "Freeze the network alone: tf.compat.v1.graph_util.extract_sub_graph(graph_def, OUTPUTS).",
                "If you do not know where the file comes from, do not run it elsewhere either.",
            ],
        )


def lambda_layers(model_config: str) -> List[str]:
    """Names of the layers of a Keras model, nested models included, whose functions are stored as Python bytecode.

    ``model_config``: the JSON text that Keras files hold. Keras unmarshals such a function while it loads the file
    (keras/layers/core/lambda_layer.py, ``_parse_function_from_config``): whatever it does is done then.
    """
    return [str(config.get("name", "?")) for config in _dictionaries(parse(model_config)) if _holds_bytecode(config)]


def _holds_bytecode(config: dict) -> bool:
    return any(config.get(key) == "lambda" for key in ("function_type", "output_shape_type", "mask_type"))


def _dictionaries(value: Any) -> Iterator[dict]:
    """Every dictionary inside of a JSON value, in its order."""
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, dict):
            yield one
            stack.extend(reversed(list(one.values())))
        elif isinstance(one, list):
            stack.extend(reversed(one))


def refuse_lambda_layers(model_config: str, path: str) -> None:
    """Raises DoptError MODEL_HOLDS_CODE where loading a Keras file would execute code that it holds."""
    found = lambda_layers(model_config)
    if found:
        raise DoptError(
            "MODEL_HOLDS_CODE",
            f"{path} holds Python code that would be executed while it is loaded, in {len(found)} Lambda layer"
            f"{'s' if len(found) > 1 else ''}: {', '.join(found[:5])}.",
            place=path,
            suggestions=[
                "If the file is yours or you trust who made it: --trust-model-code",
                "Or save the model as a SavedModel, which holds graphs instead: model.save('FOLDER').",
            ],
        )
