"""The user's module in PyTorch with the data, optimizer and device that a scenario names."""

import math
from itertools import count, islice
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

from dopt.gpu import torch_device
from dopt.nas import torch_user, user
from dopt.nas.torch_parallel import share_of


def step_scheduler(scheduler: Any) -> None:
    """A step of the user's scheduler, who need not have one."""
    if scheduler is not None:
        scheduler.step()


def on_host(value: Any) -> Any:
    """Tensors, and lists of them, in the processor's memory."""
    if isinstance(value, (list, tuple)):
        return [on_host(each) for each in value]
    return value.cpu() if hasattr(value, "cpu") else value


class Run:
    """The user's module with the data, optimizer and device that the scenario names."""

    def __init__(self, params: Dict[str, Any]) -> None:
        import torch

        self.torch, self.params = torch, params
        if params["threads"]:
            torch.set_num_threads(params["threads"])
        self.device = torch_device(params["gpu"], exact=False)
        self.module = torch_user.load(params["folder"])
        self.user = self.module.UserModule(params["epochs"], params["batchSize"])
        self.classes = params["application"] != "object_detection"
        self.datasets: Dict[Tuple[str, bool], Any] = {}
        self.seed(params["seed"])

    def seed(self, seed: int) -> None:
        """All random numbers from here on follow from ``seed``."""
        self.torch.manual_seed(seed)

    def put(self, value: Any) -> Any:
        """A batch on the device."""
        if hasattr(value, "to"):
            return value.to(self.device)
        if isinstance(value, dict):
            return {name: self.put(each) for name, each in value.items()}
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
        data = self._dataset(folder, training)
        size, collate = min(self.params["batchSize"], len(data)), getattr(data, "collate_fn", None)
        if not training:
            return self.torch.utils.data.DataLoader(data, size, collate_fn=collate)
        generator = self.torch.Generator()
        generator.manual_seed(self.params["seed"] * 100_003 + epoch)
        order = self.torch.utils.data.RandomSampler(data, generator=generator)
        batches = share_of(self.torch.utils.data.BatchSampler(order, size, drop_last=True))
        return self.torch.utils.data.DataLoader(data, batch_sampler=batches, generator=generator, collate_fn=collate)

    def _dataset(self, folder: str, training: bool) -> Any:
        if (folder, training) not in self.datasets:
            self.datasets[folder, training] = torch_user.dataset(self.user, folder, training)
        return self.datasets[folder, training]

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

    def fit(self, network: Any, epochs: int, done: int) -> None:
        """Trains one network alone, with the user's whole schedule and an optimizer that knows nothing yet: behind ``done``
        epochs that is a warm restart (Loshchilov, Hutter, "SGDR", ICLR 2017, section 3)."""
        own = self.module.UserModule(epochs, self.params["batchSize"])
        steps = len(self.loader(self.params["trainFolder"], True))
        self._learn(network, own, self._batches(range(done, done + epochs)), steps)

    def tune(self, network: Any, steps: int, number: int = 0) -> List[float]:
        """Trains one network for so many batches, with the schedule that the user has for one epoch; the loss of each.
        Batches are the same for all networks, and others with another ``number``."""
        if steps == 0:
            return []
        own = self.module.UserModule(1, self.params["batchSize"])
        epochs = math.ceil(steps / len(self.loader(self.params["trainFolder"], True)))
        return self._learn(network, own, islice(self._batches(count(number * epochs)), steps), steps)

    def _batches(self, epochs: Iterable[int]) -> Iterator[Any]:
        for epoch in epochs:
            # Whatever the user draws to change pictures is the same whether the epochs before were trained now or earlier.
            self.seed(self.params["seed"] * 100_003 + epoch)
            yield from self.loader(self.params["trainFolder"], True, epoch)

    def _learn(self, network: Any, own: Any, batches: Iterable[Any], steps: int) -> List[float]:
        """The loss of each batch. ``own``: the UserModule whose loss and schedule it is. ``steps``: what it gets as steps of
        an epoch."""
        losses = []
        optimizer = self.optimizer(network.parameters())
        scheduler = own.scheduler_define(optimizer, steps)
        network.train()
        for inputs, labels in batches:
            optimizer.zero_grad()
            loss = own.loss_func(self.put(labels), network(self.put(inputs)))
            losses.append(self.number(loss))
            loss.backward()
            optimizer.step()
            step_scheduler(scheduler)
        return losses

    def evaluate(self, network: Any) -> float:
        """What the user's metric says of a network on the validation folder."""
        network.eval()
        loader = self.loader(self.params["valFolder"], False)
        with self.torch.no_grad():
            return user.score_of(self.user.metrics_func(loader, lambda inputs: on_host(network(self.put(inputs)))))

    def validation_loss(self, network: Any) -> Optional[float]:
        """Mean of the user's loss over the samples of the validation folder, None without any. Raises DoptError NAS_LOSS."""
        network.eval()
        total, count = 0.0, 0
        with self.torch.no_grad():
            for inputs, labels in self.loader(self.params["valFolder"], False):
                size = len(inputs)
                total += size * self.number(self.user.loss_func(self.put(labels), network(self.put(inputs))))
                count += size
        return total / count if count else None

    def is_full(self, error: Exception) -> bool:
        """Whether an error says that memory ran out; then memory of the GPU is given back."""
        if "out of memory" not in str(error):
            return False
        if self.device.type == "cuda":
            self.torch.cuda.empty_cache()
        return True
