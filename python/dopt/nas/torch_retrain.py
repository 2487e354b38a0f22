"""Method ``nasRetrain`` in PyTorch: one network of a search, trained fully."""

import math
import os
from typing import Any, Dict, Iterator, Tuple

from dopt.doors.torch.patches import export_settings
from dopt.nas.samples import write_samples
from dopt.nas.scoring import write_whole
from dopt.nas.torch_run import Run
from dopt.nas.torch_train import alone, fit

#: Name of the input: the argument of the network's forward.
INPUT = "inputs"


def retrain(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Trains a network from the last finished epoch on, scores it, and writes it as ONNX with its weights and samples.

    Parameters and result: METHODS.nasRetrain in src/bridge/protocol.ts. Raises DoptError NAS_LOSS.
    """
    import torch

    run = Run(params)
    run.seed(params["seed"])
    network = run.network(params["layers"])
    plan = run.user, params["epochs"]
    loss = fit(run, network, params["checkpoint"], plan, alone(run, network), events)
    score = run.evaluate(network)
    out, name = params["out"], params["name"]
    weights, model = os.path.join(out, f"{name}.pth"), os.path.join(out, f"{name}.onnx")
    network = network.cpu()
    write_whole(weights, lambda file: torch.save(network.state_dict(), file))
    height, width, channels = params["inputShape"]
    inputs = torch.zeros(1, channels, height, width)
    write_whole(model, lambda file: torch.onnx.export(network, (inputs,), file, input_names=[INPUT], **export_settings()))
    folders = params["trainFolder"], params["valFolder"]
    train, judge = (
        write_samples(_arrays(run.loader(folder, at == 0)), out, called, INPUT, params["samples"])
        for at, (folder, called) in enumerate(zip(folders, ("calibration", "validation")))
    )
    return {
        "loss": loss if math.isfinite(loss) else None, "score": score, "weights": weights, "model": model,
        "input": INPUT, "calibration": train["data"], "validation": judge["data"], "labels": judge["labels"],
    }


def _arrays(batches: Any) -> Iterator[Tuple[Any, Any]]:
    for inputs, labels in batches:
        yield inputs.numpy(), labels.numpy() if hasattr(labels, "numpy") else labels
