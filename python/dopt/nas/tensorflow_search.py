"""Methods ``nasDescribe``, ``nasTrain`` and ``nasScore`` in TensorFlow."""

import math
import os
from typing import Any, Callable, Dict, List

# Before TensorFlow is loaded: it prints what it can do with the processor.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from dopt.errors import DoptError
from dopt.nas import tensorflow_user, user
from dopt.nas.scoring import Judge, scored, write_whole


def describe(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Runs the fixed parts once and writes them as ONNX.

    Parameters and result: METHODS.nasDescribe in src/bridge/protocol.ts. Raises DoptError NAS_USER_MODULE, NAS_NETWORK.
    """
    import tensorflow as tf

    module = tensorflow_user.load(params["folder"])
    pre_net, post_net = module.PreNet(), module.PostNet()
    inputs = tf.zeros((1, *params["inputShape"]))
    outputs = _run("PreNet", pre_net, inputs)
    if not tf.is_tensor(outputs) or outputs.shape.rank != 4:
        raise DoptError("NAS_NETWORK", "PreNet must give one map: batch, height, width, channels.", place="user_module.py")
    sizes, maps = list(outputs.shape[1:3]), []
    for filters, stride in zip(params["filters"], params["strides"]):
        sizes = [math.ceil(side / stride) for side in sizes]
        maps.append(tf.zeros((1, *sizes, filters)))
    last = [*(maps[index] for index in params["features"]), maps[-1]] if params["features"] else maps[-1]
    _run("PostNet", post_net, last)
    files = {"pre": os.path.join(params["out"], "pre.onnx"), "post": os.path.join(params["out"], "post.onnx")}
    _export(pre_net, inputs, files["pre"])
    _export(post_net, last, files["post"])
    return {"channels": outputs.shape[3], "height": outputs.shape[1], "width": outputs.shape[2], **files}


def _run(name: str, network: Any, inputs: Any) -> Any:
    try:
        return network(inputs, training=False)
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything.
        shapes = [list(each.shape) for each in inputs] if isinstance(inputs, list) else list(inputs.shape)
        raise user.fails_on(name, shapes, error) from error


def _export(network: Any, inputs: Any, path: str) -> None:
    from dopt.doors.tensorflow.convert import convert_graph
    from dopt.nas.tensorflow_export import freeze

    frozen = freeze(network, inputs)
    shapes = dict(zip(frozen.inputs, frozen.shapes))
    names = {name: name.split(":")[0] for name in [*frozen.inputs, *frozen.outputs]}
    borders = frozen.inputs, frozen.outputs
    model = convert_graph(frozen.graph_def, "user_module.py", *borders, shapes, names, frozen.maps)
    with open(path, "wb") as file:
        file.write(model.SerializeToString())


def train(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Trains the shared weights of all candidates, from the last finished epoch on.

    Each step trains the largest network on the labels, and the smallest and two others of the deck on what the largest
    says too (the sandwich rule with inplace distillation: Yu, Huang, "Universally Slimmable Networks", ICCV 2019, section 3.2).
    Parameters and result: METHODS.nasTrain. Raises DoptError NAS_LOSS when the loss is no number.
    """
    from dopt.nas.tensorflow_run import Run, restore, save

    run = Run(params)
    network = run.supernet(params["largestNetwork"])
    optimizer = run.optimizer(list(network.trainable_variables))
    path = params["checkpoint"]
    start = restore(path, network, optimizer) if os.path.exists(path) else 0
    deck, loss = params["deck"], math.nan
    for epoch in range(start, params["epochs"]):
        data, steps = run.batches(True, epoch)
        for step, (inputs, labels) in enumerate(data):
            done = epoch * steps + step
            others = params["smallestNetwork"], deck[2 * done % len(deck)], deck[(2 * done + 1) % len(deck)]
            optimizer.learning_rate = run.rate(done)
            loss = _sandwich(run, network, optimizer, [params["largestNetwork"], *others], inputs, labels)
            events.progress(done + 1, params["epochs"] * steps, f"loss {loss:.3f}")
        write_whole(path, lambda file, done=epoch + 1: save(file, done, network, optimizer))
    return {"epochs": params["epochs"], "loss": loss if math.isfinite(loss) else None}


def _sandwich(run: Any, network: Any, optimizer: Any, networks: List[Any], inputs: Any, labels: Any) -> float:
    """One step of all networks, the first of which teaches the others; its loss."""
    import tensorflow as tf

    variables = list(network.trainable_variables)
    sums: List[Any] = [None] * len(variables)
    teacher, first = None, math.nan
    for layers in networks:
        network.active = layers
        with tf.GradientTape() as tape:
            outputs = network(inputs, training=True)
            loss = run.loss(labels, outputs, network)
            if teacher is not None:
                loss = _distilled(loss, outputs, teacher)
        if teacher is None:
            teacher, first = outputs, run.number(loss)
        for at, gradient in enumerate(tape.gradient(loss, variables)):
            if gradient is not None:
                sums[at] = gradient if sums[at] is None else sums[at] + gradient
    optimizer.apply_gradients([(each, variable) for each, variable in zip(sums, variables) if each is not None])
    return first


def _distilled(loss: Any, outputs: Any, teacher: Any) -> Any:
    """Half the user's own loss, half the cross entropy against the teacher's classes (Hinton et al., "Distilling the
    Knowledge in a Neural Network", 2015, section 2): a teacher that knows nothing yet teaches nothing. The user's loss
    alone where outputs are no single map of classes."""
    import tensorflow as tf

    if not (tf.is_tensor(outputs) and outputs.shape.rank >= 2):
        return loss
    classes = tf.stop_gradient(tf.nn.softmax(teacher))
    return 0.5 * loss + 0.5 * tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(classes, outputs))


def score(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Scores networks: each with shared weights and statistics of its own, or trained alone for some epochs.

    One that does not fit into memory, or whose loss is no number, gets a reason instead of a score. Parameters and result:
    METHODS.nasScore.
    """
    from dopt.nas.tensorflow_run import Run

    def make() -> Judge:
        run = Run(params)
        judge = _shared(run, params) if params["checkpoint"] is not None else _alone(run, params)
        return Judge(judge, run.is_full)

    return scored(params, make, events)


def _shared(run: Any, params: Dict[str, Any]) -> Callable[[Dict[str, Any]], float]:
    from dopt.nas.tensorflow_run import restore
    from dopt.nas.tensorflow_supernet import recalibrate

    network = run.supernet(params["networks"][0]["layers"])
    restore(params["checkpoint"], network)
    batches = [inputs for inputs, _ in run.batches(True, 0)[0].take(params["calibrationBatches"])]

    def judge(candidate: Dict[str, Any]) -> float:
        network.active = candidate["layers"]
        recalibrate(network, batches)
        return run.evaluate(network)

    return judge


def _alone(run: Any, params: Dict[str, Any]) -> Callable[[Dict[str, Any]], float]:
    import tensorflow as tf

    def judge(candidate: Dict[str, Any]) -> float:
        tf.keras.backend.clear_session()
        run.seed(candidate["seed"])
        network = run.network(candidate["layers"])
        run.fit(network, params["epochs"], candidate["seed"])
        return run.evaluate(tf.function(lambda inputs: network(inputs, training=False)))

    return judge
