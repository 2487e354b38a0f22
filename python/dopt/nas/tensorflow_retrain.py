"""Method ``nasRetrain`` in TensorFlow: one network of a search, trained fully."""

import math
import os
from typing import Any, Dict, Iterator, Tuple

import tensorflow as tf

from dopt.nas.samples import write_samples
from dopt.nas.scoring import write_whole
from dopt.nas.tensorflow_export import freeze
from dopt.nas.tensorflow_run import Run
from dopt.nas.tensorflow_train import alone, fit
from dopt.nas.tensorflow_user import input_shape


def retrain(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Trains a network from the last finished epoch on, scores it, and writes it as .pb with its weights and samples.

    Parameters and result: METHODS.nasRetrain in src/bridge/protocol.ts. Raises DoptError NAS_LOSS.
    """
    run = Run(params)
    run.seed(params["seed"])
    network = run.network(params["layers"])
    loss = fit(run, network, params["checkpoint"], (run.user, params["epochs"]), alone(run, network), events)
    score = run.evaluate(tf.function(lambda inputs: network(inputs, training=False)))
    out, name = params["out"], params["name"]
    weights, model = os.path.join(out, f"{name}.h5"), os.path.join(out, f"{name}.pb")
    network.save_weights(weights)
    frozen = freeze(network, tf.zeros((1, *input_shape(params))))
    write_whole(model, lambda file: file.write(frozen.graph_def.SerializeToString()))
    tensor = frozen.inputs[0].split(":")[0]
    train = write_samples(_arrays(run.batches(True, 0)), out, "calibration", tensor, params["samples"])
    judge = write_samples(_arrays(run.batches(False)), out, "validation", tensor, params["samples"])
    return {
        "loss": loss if math.isfinite(loss) else None, "score": score, "weights": weights, "model": model,
        "input": tensor, "calibration": train["data"], "validation": judge["data"], "labels": judge["labels"],
    }


def _arrays(batches: Any) -> Iterator[Tuple[Any, Any]]:
    for inputs, labels in batches:
        yield inputs.numpy(), labels.numpy() if hasattr(labels, "numpy") else labels
