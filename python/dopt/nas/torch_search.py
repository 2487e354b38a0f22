"""Methods ``nasDescribe``, ``nasTrain`` and ``nasScore`` in PyTorch."""

import math
import os
from typing import Any, Callable, Dict, List

from dopt.doors.torch.patches import export_settings
from dopt.errors import DoptError
from dopt.nas import torch_user, user
from dopt.nas.scoring import Judge, scored, write_whole


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


def train(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Trains the shared weights of all candidates, from the last finished epoch on.

    Each step trains the largest network on the labels, and the smallest and two others of the deck on what the largest
    says too (the sandwich rule with inplace distillation: Yu, Huang, "Universally Slimmable Networks", ICCV 2019, section 3.2).
    Parameters and result: METHODS.nasTrain. Raises DoptError NAS_LOSS when the loss is no number.
    """
    import torch

    run = Run(params)
    network = run.supernet()
    loader = run.loader(params["trainFolder"], True)
    steps = len(loader)
    optimizer = run.optimizer(network.parameters())
    scheduler = run.user.scheduler_define(optimizer, steps)
    start = _resume(params["checkpoint"], network, optimizer, scheduler)
    deck, loss = params["deck"], math.nan
    for epoch in range(start, params["epochs"]):
        loader = run.loader(params["trainFolder"], True, epoch)
        network.train()
        for step, (inputs, labels) in enumerate(loader):
            inputs, labels = run.put(inputs), run.put(labels)
            optimizer.zero_grad()
            at = 2 * (epoch * steps + step)
            network.active = params["largestNetwork"]
            outputs = network(inputs)
            first = run.user.loss_func(labels, outputs)
            loss = run.number(first)
            first.backward()
            for layers in (params["smallestNetwork"], deck[at % len(deck)], deck[(at + 1) % len(deck)]):
                network.active = layers
                _distil(run, network(inputs), outputs, labels).backward()
            optimizer.step()
            _step(scheduler)
            events.progress(epoch * steps + step + 1, params["epochs"] * steps, f"loss {loss:.3f}")
        _save(params["checkpoint"], {
            "epoch": epoch + 1, "network": network.state_dict(), "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict() if scheduler is not None else None, "torch": str(torch.__version__),
        })
    return {"epochs": params["epochs"], "loss": loss if math.isfinite(loss) else None}


def _distil(run: "Run", outputs: Any, teacher: Any, labels: Any) -> Any:
    """Half the user's own loss, half the cross entropy against the teacher's classes (Hinton et al., "Distilling the
    Knowledge in a Neural Network", 2015, section 2): a teacher that knows nothing yet teaches nothing. The user's loss
    alone where outputs are no single map of classes."""
    import torch.nn.functional as F

    loss = run.user.loss_func(labels, outputs)
    if not (run.classes and hasattr(outputs, "dim") and outputs.dim() >= 2):
        return loss
    return 0.5 * loss - 0.5 * (F.softmax(teacher.detach(), 1) * F.log_softmax(outputs, 1)).sum(1).mean()


def _on_host(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_on_host(each) for each in value]
    return value.cpu() if hasattr(value, "cpu") else value


def _step(scheduler: Any) -> None:
    if scheduler is not None:
        scheduler.step()


def _resume(path: str, network: Any, optimizer: Any, scheduler: Any) -> int:
    """Takes up a checkpoint; the number of epochs that are done."""
    import torch

    if not os.path.exists(path):
        return 0
    state = torch.load(path, map_location="cpu")
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    if scheduler is not None and state["scheduler"] is not None:
        scheduler.load_state_dict(state["scheduler"])
    return state["epoch"]


def _save(path: str, state: Dict[str, Any]) -> None:
    import torch

    write_whole(path, lambda file: torch.save(state, file))


def score(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Scores networks: each with shared weights and statistics of its own, or trained alone for some epochs.

    One that does not fit into memory, or whose loss is no number, gets a reason instead of a score. Parameters and result:
    METHODS.nasScore.
    """
    def make() -> Judge:
        run = Run(params)
        judge = _shared(run, params) if params["checkpoint"] is not None else _alone(run, params)
        return Judge(judge, run.is_full)

    return scored(params, make, events)


def _shared(run: "Run", params: Dict[str, Any]) -> Callable[[Dict[str, Any]], float]:
    import torch

    from dopt.nas.torch_supernet import recalibrate

    network = run.supernet()
    network.load_state_dict(torch.load(params["checkpoint"], map_location=run.device)["network"])
    batches: List[Any] = []
    for inputs, _ in run.loader(params["trainFolder"], True, 0):
        batches.append(run.put(inputs))
        if len(batches) >= params["calibrationBatches"]:
            break

    def judge(candidate: Dict[str, Any]) -> float:
        network.active = candidate["layers"]
        recalibrate(network, batches)
        return run.evaluate(network)

    return judge


def _alone(run: "Run", params: Dict[str, Any]) -> Callable[[Dict[str, Any]], float]:
    def judge(candidate: Dict[str, Any]) -> float:
        run.seed(candidate["seed"])
        network = run.network(candidate["layers"])
        run.fit(network, params["epochs"], candidate["seed"])
        return run.evaluate(network)

    return judge


class Run:
    """The user's module with the data, optimizer and device that the scenario names."""

    def __init__(self, params: Dict[str, Any]) -> None:
        import torch

        self.torch, self.params = torch, params
        if params["threads"]:
            torch.set_num_threads(params["threads"])
        self.device = torch.device("cuda", params["gpu"]) if params["gpu"] is not None else torch.device("cpu")
        self.module = torch_user.load(params["folder"])
        self.user = self.module.UserModule(params["epochs"], params["batchSize"])
        self.classes = params["application"] != "object_detection"
        self.seed(params["seed"])

    def seed(self, seed: int) -> None:
        """All random numbers from here on follow from ``seed``."""
        self.torch.manual_seed(seed)

    def put(self, value: Any) -> Any:
        """A batch on the device."""
        if hasattr(value, "to"):
            return value.to(self.device)
        return [self.put(each) for each in value] if isinstance(value, (list, tuple)) else value

    def supernet(self) -> Any:
        """The network of all candidates, the same for the same seed."""
        from dopt.nas.torch_supernet import Supernet

        self.seed(self.params["seed"])
        parts = self.module.PreNet(), self.params["largest"], self.module.PostNet(), self.params["features"]
        return Supernet(*parts).to(self.device)

    def network(self, layers: List[Dict[str, Any]]) -> Any:
        """One candidate with weights of its own."""
        from dopt.nas.torch_blocks import Network

        parts = self.module.PreNet(), layers, self.module.PostNet(), self.params["features"]
        return Network(*parts).to(self.device)

    def loader(self, folder: str, training: bool, epoch: int = 0) -> Any:
        """Batches of a folder; those of a training are shuffled as the seed and the epoch say."""
        data = torch_user.dataset(self.user, folder, training)
        generator = self.torch.Generator()
        generator.manual_seed(self.params["seed"] * 100_003 + epoch)
        size = min(self.params["batchSize"], len(data))
        return self.torch.utils.data.DataLoader(data, size, shuffle=training, drop_last=training, generator=generator)

    def optimizer(self, parameters: Any) -> Any:
        """The optimizer of the scenario."""
        given, optim = self.params["optimizer"], self.torch.optim
        if given["type"] == "Adam":
            return optim.Adam(parameters, lr=given["learningRate"], betas=tuple(given["betas"]))
        return optim.SGD(parameters, lr=given["learningRate"], momentum=given["momentum"])

    def number(self, loss: Any) -> float:
        """A loss as a number. Raises DoptError NAS_LOSS when it is none."""
        value = float(loss.detach())
        if not math.isfinite(value):
            raise user.not_a_number("loss_func", value)
        return value

    def fit(self, network: Any, epochs: int, seed: int) -> None:
        """Trains one network alone."""
        loader = self.loader(self.params["trainFolder"], True)
        optimizer = self.optimizer(network.parameters())
        scheduler = self.user.scheduler_define(optimizer, len(loader))
        network.train()
        for epoch in range(epochs):
            for inputs, labels in self.loader(self.params["trainFolder"], True, seed % 1000 + epoch):
                optimizer.zero_grad()
                loss = self.user.loss_func(self.put(labels), network(self.put(inputs)))
                self.number(loss)
                loss.backward()
                optimizer.step()
                _step(scheduler)

    def evaluate(self, network: Any) -> float:
        """What the user's metric says of a network on the validation folder."""
        network.eval()
        loader = self.loader(self.params["valFolder"], False)
        with self.torch.no_grad():
            return user.score_of(self.user.metrics_func(loader, lambda inputs: _on_host(network(self.put(inputs)))))

    def is_full(self, error: Exception) -> bool:
        """Whether an error says that memory ran out; then memory of the GPU is given back."""
        if "out of memory" not in str(error):
            return False
        if self.device.type == "cuda":
            self.torch.cuda.empty_cache()
        return True
