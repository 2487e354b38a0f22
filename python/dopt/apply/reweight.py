"""Method ``reweight``: a captured model with other values for some of its constants."""

import os
import shutil
from typing import Any, Dict


def reweight(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Writes float.onnx and weights.safetensors, as capture does, into ``out``; the graph stays what it is.

    Parameters and result: METHODS.reweight in src/bridge/protocol.ts. Raises DoptError OUTPUT_WRITE (environment), and
    REWEIGHT (bug) for a constant that the model does not have in that type and shape.
    """
    import onnx

    from dopt import safetensors
    from dopt.capture.network import Weight, make_tensor
    from dopt.capture.save import MODEL, WEIGHTS, write_bytes
    from dopt.errors import DoptError

    changes = safetensors.read(params["changes"])
    weights, model_path = (os.path.join(params["out"], name) for name in (WEIGHTS, MODEL))
    entries = safetensors.read_header(params["weights"])
    for name, array in changes.items():
        entry = entries.get(name)
        if entry is None or entry.shape != array.shape or entry.end - entry.start != array.nbytes:
            raise DoptError("REWEIGHT", f"{params['weights']} has no {name!r} of shape {array.shape}.", kind="bug")
    try:
        shutil.copyfile(params["weights"], weights)
        with open(weights, "r+b") as file:
            for name, array in changes.items():
                file.seek(entries[name].start)
                file.write(array.tobytes())
    except OSError as error:
        raise safetensors.write_error(weights, error) from error
    # Large weights point into the file of weights, wherever the model lies; small ones lie in the model itself, too.
    model = onnx.load(params["model"], load_external_data=False)
    for tensor in model.graph.initializer:
        if tensor.name in changes and tensor.data_location != tensor.EXTERNAL:
            tensor.CopyFrom(make_tensor(tensor.name, Weight(tensor.data_type, changes[tensor.name])))
    write_bytes(model_path, model.SerializeToString(deterministic=True))
    return {"model": model_path, "weights": weights}
