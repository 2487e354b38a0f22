"""Methods ``nasDescribe`` and ``nasScore`` in PyTorch."""

import math
import os
from typing import Any, Dict, List

from dopt.doors.torch.patches import export_settings
from dopt.errors import DoptError
from dopt.nas import torch_user, user
from dopt.nas.scoring import BETWEEN_SEEDS, Held, Judge, Scorer, Training, Verdict, averaged, scored, train_parts
from dopt.nas.torch_run import Run


def describe(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Runs the fixed parts once and writes them as ONNX.

    Parameters and result: METHODS.nasDescribe in src/bridge/protocol.ts. Raises DoptError NAS_USER_MODULE, NAS_NETWORK.
    """
    import torch

    module = torch_user.load(params["folder"])
    pre_net, post_net = module.PreNet().eval(), module.PostNet().eval()
    height, width, channels = params["inputShape"]
    inputs = torch.zeros(1, channels, height, width)
    with torch.no_grad():
        outputs = _run("PreNet", pre_net, inputs)
    if not isinstance(outputs, torch.Tensor) or outputs.dim() != 4:
        raise DoptError("NAS_NETWORK", "PreNet must give one map: batch, channels, height, width.", place="user_module.py")
    sizes = list(outputs.shape[2:])
    maps, features = [], []
    for index, (filters, stride) in enumerate(zip(params["filters"], params["strides"])):
        sizes = [math.ceil(side / stride) for side in sizes]
        maps.append(torch.zeros(1, filters, *sizes))
        if index in params["features"]:
            features.append(maps[-1])
    last = [*features, maps[-1]] if params["features"] else maps[-1]
    with torch.no_grad():
        _run("PostNet", post_net, last)
    files = {"pre": os.path.join(params["out"], "pre.onnx"), "post": os.path.join(params["out"], "post.onnx")}
    torch.onnx.export(pre_net, (inputs,), files["pre"], **export_settings())
    torch.onnx.export(post_net, (last,), files["post"], **export_settings())
    return {"channels": outputs.shape[1], "height": outputs.shape[2], "width": outputs.shape[3], **files}


def _run(name: str, network: Any, inputs: Any) -> Any:
    try:
        return network(inputs)
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything.
        shapes = [list(each.shape) for each in inputs] if isinstance(inputs, list) else list(inputs.shape)
        raise user.fails_on(name, shapes, error) from error


def score(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Scores networks: each with shared weights and statistics of its own, or trained alone for some epochs.

    One that does not fit into memory, or whose loss is no number, gets a reason instead of a score. Parameters and result:
    METHODS.nasScore.
    """
    def make() -> Judge:
        run = Run(params)
        judge = _shared(run, params, events) if params["checkpoint"] is not None else _alone(run)
        return Judge(judge, run.is_full)

    return scored(params, make, events)


def _shared(run: Run, params: Dict[str, Any], events: Any) -> Scorer:
    import torch

    from dopt.nas.torch_supernet import cut_out, go_on, recalibrate

    shared = run.supernet()
    shared.load_state_dict(torch.load(params["checkpoint"], map_location="cpu")["network"])
    batches: List[Any] = []
    for inputs, _ in run.loader(params["trainFolder"], True, 0):
        batches.append(run.put(inputs))
        if len(batches) >= params["calibrationBatches"]:
            break

    held = Held(run.is_full, lambda text: events.log("warning", text))

    def once(candidate: Dict[str, Any], number: int) -> Verdict:
        run.seed(candidate["seed"] + BETWEEN_SEEDS * number)
        network = run.network(candidate["layers"])
        (go_on if params["tuneBatches"] > 0 else cut_out)(network, shared)
        losses = run.tune(network, params["tuneBatches"], number)
        recalibrate(network, batches)
        return run.evaluate(network), held.loss(lambda: run.validation_loss(network), losses)

    def judge(candidate: Dict[str, Any]) -> Verdict:
        shared.active = candidate["layers"]
        return averaged([once(candidate, number) for number in range(params["tuneSeeds"])])

    return judge


def _alone(run: Run) -> Scorer:
    import torch

    from dopt.nas.torch_inherit import inherit

    def judge(candidate: Dict[str, Any]) -> Verdict:
        run.seed(candidate["seed"])
        network = run.network(candidate["layers"])
        train_parts(candidate, Training(
            load=lambda path: network.load_state_dict(torch.load(path, map_location="cpu")),
            inherit=lambda parent: inherit(network, candidate["layers"], parent),
            fit=lambda epochs, done: run.fit(network, epochs, done),
            save=lambda file: torch.save(network.state_dict(), file),
        ))
        return run.evaluate(network), None

    return judge
