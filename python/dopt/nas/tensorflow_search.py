"""Methods ``nasDescribe`` and ``nasScore`` in TensorFlow."""

import itertools
import math
import os
from typing import Any, Dict

from dopt.errors import DoptError
from dopt.nas import tensorflow_user, user
from dopt.nas.scoring import BETWEEN_SEEDS, Held, Judge, Scorer, Training, Verdict, averaged, scored, train_parts


def describe(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Runs the fixed parts once and writes them as ONNX.

    Parameters and result: METHODS.nasDescribe in src/bridge/protocol.ts. Raises DoptError NAS_USER_MODULE, NAS_NETWORK.
    """
    import tensorflow as tf

    module = tensorflow_user.load(params["folder"])
    pre_net, post_net = module.PreNet(), module.PostNet()
    inputs, first = tf.zeros((1, *tensorflow_user.input_shape(params))), params["channelsFirst"]
    outputs = _run("PreNet", pre_net, inputs)
    if not tf.is_tensor(outputs) or outputs.shape.rank != 4:
        raise DoptError("NAS_NETWORK", f"PreNet must give one map: batch, {'channels, height, width' if first else 'height, width, channels'}.",
                        place="user_module.py")
    channels, *sizes = outputs.shape[1:] if first else [outputs.shape[3], *outputs.shape[1:3]]
    described = {"channels": channels, "height": sizes[0], "width": sizes[1]}
    maps = []
    for filters, stride in zip(params["filters"], params["strides"]):
        sizes = [math.ceil(side / stride) for side in sizes]
        maps.append(tf.zeros((1, filters, *sizes) if first else (1, *sizes, filters)))
    last = [*(maps[index] for index in params["features"]), maps[-1]] if params["features"] else maps[-1]
    _run("PostNet", post_net, last)
    files = {"pre": os.path.join(params["out"], "pre.onnx"), "post": os.path.join(params["out"], "post.onnx")}
    _export(pre_net, inputs, files["pre"], first)
    _export(post_net, last, files["post"], first)
    return {**described, **files}


def _run(name: str, network: Any, inputs: Any) -> Any:
    try:
        return network(inputs, training=False)
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything.
        shapes = [list(each.shape) for each in inputs] if isinstance(inputs, list) else list(inputs.shape)
        raise user.fails_on(name, shapes, error) from error


def _export(network: Any, inputs: Any, path: str, first: bool) -> None:
    import tensorflow as tf

    from dopt.doors.tensorflow.convert import convert_graph
    from dopt.nas.tensorflow_export import freeze

    # Biases begin at zero, where they would be left out and not counted.
    for variable in network.trainable_variables:
        variable.assign_add(tf.fill(variable.shape, 0.01))
    frozen = freeze(network, inputs)
    shapes = dict(zip(frozen.inputs, frozen.shapes))
    names = {name: name.split(":")[0] for name in [*frozen.inputs, *frozen.outputs]}
    borders = frozen.inputs, frozen.outputs
    model = convert_graph(frozen.graph_def, "user_module.py", *borders, shapes, names, [] if first else frozen.maps)
    with open(path, "wb") as file:
        file.write(model.SerializeToString())


def score(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Scores networks: each with shared weights and statistics of its own, or trained alone for some epochs.

    One that does not fit into memory, or whose loss is no number, gets a reason instead of a score. Parameters and result:
    METHODS.nasScore.
    """
    from dopt.nas.tensorflow_run import Run

    def make() -> Judge:
        run = Run(params)
        judge = _shared(run, params, events) if params["checkpoint"] is not None else _alone(run)
        return Judge(judge, run.is_full)

    return scored(params, make, events)


def _shared(run: Any, params: Dict[str, Any], events: Any) -> Scorer:
    import tensorflow as tf

    from dopt.nas.tensorflow_run import restore
    from dopt.nas.tensorflow_supernet import go_on, recalibrate

    shared = run.supernet(params["networks"][0]["layers"])
    restore(params["checkpoint"], shared)
    batches = [inputs for inputs, _ in itertools.islice(run.batches(True, 0), params["calibrationBatches"])]

    held = Held(run.is_full, lambda text: events.log("warning", text))

    def judge(candidate: Dict[str, Any]) -> Verdict:
        shared.active = candidate["layers"]
        if params["tuneBatches"] == 0:
            recalibrate(shared, batches)
            return run.evaluate(shared), None
        return averaged([once(candidate, number) for number in range(params["tuneSeeds"])])

    def once(candidate: Dict[str, Any], number: int) -> Verdict:
        tf.keras.backend.clear_session()
        run.seed(candidate["seed"] + BETWEEN_SEEDS * number)
        network = run.network(candidate["layers"])
        go_on(network, shared)
        losses = run.tune(network, params["tuneBatches"], number)
        recalibrate(network, batches)
        forward = tf.function(lambda inputs: network(inputs, training=False))
        return run.evaluate(forward), held.loss(lambda: run.validation_loss(forward, network), losses)

    return judge


def _alone(run: Any) -> Scorer:
    import tensorflow as tf

    from dopt.nas.tensorflow_inherit import inherit, restore, save

    def judge(candidate: Dict[str, Any]) -> Verdict:
        tf.keras.backend.clear_session()
        run.seed(candidate["seed"])
        network = run.network(candidate["layers"])
        train_parts(candidate, Training(
            load=lambda path: restore(path, network),
            inherit=lambda parent: inherit(network, candidate["layers"], parent),
            fit=lambda epochs, done: run.fit(network, epochs, done),
            save=lambda file: save(file, network),
        ))
        return run.evaluate(tf.function(lambda inputs: network(inputs, training=False))), None

    return judge
