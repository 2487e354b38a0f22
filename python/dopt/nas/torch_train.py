"""Method ``nasTrain`` in PyTorch: the weights that all networks of a search share."""

import math
import os
from typing import Any, Dict, List, Optional, Tuple

from dopt.nas.board import Board, log_of
from dopt.nas.scoring import write_whole
from dopt.nas.torch_parallel import average_gradients, is_first, train_together, wait_for_all
from dopt.nas.torch_pretrain import CHECKPOINT, begin_from, load_layers
from dopt.nas.torch_run import Run, step_scheduler

#: Networks of the deck that learn from each batch.
CARDS = 2
#: Epochs of the guide as a share of those of the shared weights.
GUIDE_SHARE = 0.5
#: What a layer's distance from the guide's weighs beside the loss.
ALIKE = 1.0


def train(params: Dict[str, Any], events: Any) -> Dict[str, Any]:
    """Trains the shared weights of all candidates, from the last finished epoch on.

    A network of its own, the guide, is trained alone first. Then each batch trains two networks of the deck on the labels
    and on what the guide says, and each of their layers to give what the guide's layer gives. Kinds of block have weights
    of their own, so without a guide every block would have to follow as many different representations as there are kinds
    before it (Li et al., "Block-wisely Supervised Neural Architecture Search with Knowledge Distillation", CVPR 2020,
    section 3.2; here networks are trained as a whole, which also teaches a layer what the ones before it get wrong). The
    guide is no candidate and the deck holds every choice equally often, so none is trained more than others.
    Parameters and result: METHODS.nasTrain. Raises DoptError NAS_LOSS when the loss is no number, NAS_PRE_TRAIN.
    """
    if len(params["places"]) > 1:
        return train_together(params, events)
    before = begin_from(params, lambda run, folder: _train(run, folder, events))
    return _train(Run(params), before, events)


def _train(run: Run, before: Optional[str], events: Any) -> Dict[str, Any]:
    """``before``: a folder of weights to begin with."""
    params = run.params
    guide = _guide(run, before, events)
    network = run.supernet()
    if before is not None:
        load_layers(network, os.path.join(before, CHECKPOINT))
    for part in ("pre_net", "post_net"):
        getattr(network, part).load_state_dict(getattr(guide, part).state_dict())
    for each in (guide, network):
        # What PostNet changes in place would else be compared.
        each.post_net.register_forward_pre_hook(lambda _, inputs: _copied(inputs))
    deck = params["deck"]

    def backward(inputs: Any, labels: Any, number: int) -> float:
        layers, outputs = guide.observed(inputs)
        total = 0.0
        for card in range(CARDS):
            network.active = deck[(CARDS * number + card) % len(deck)]
            ours, found = network.observed(inputs)
            loss = _distil(run, found, outputs, labels) + ALIKE * _distance(ours, layers)
            total += run.number(loss) / CARDS
            loss.backward()
        return total

    loss = fit(run, network, params["checkpoint"], (run.user, params["epochs"]), backward, events)
    return {"epochs": params["epochs"], "loss": loss if math.isfinite(loss) else None}


def _guide(run: Run, before: Optional[str], events: Any) -> Any:
    """The trained guide, in evaluation mode and without gradients."""
    run.seed(run.params["seed"])
    guide = run.network(run.params["guide"])
    if before is not None:
        load_layers(guide, guide_path(os.path.join(before, CHECKPOINT)))

    epochs = math.ceil(run.params["epochs"] * GUIDE_SHARE)
    user = run.module.UserModule(epochs, run.params["batchSize"])
    fit(run, guide, guide_path(run.params["checkpoint"]), (user, epochs), alone(run, guide), events)
    for each in guide.parameters():
        each.requires_grad_(False)
    return guide.eval()


def alone(run: Run, network: Any) -> Any:
    """The step of a network that is trained on the user's loss."""

    def backward(inputs: Any, labels: Any, _: int) -> float:
        loss = run.user.loss_func(labels, network(inputs))
        loss.backward()
        return run.number(loss)

    return backward


def guide_path(checkpoint: str) -> str:
    """Where the guide's checkpoint lies."""
    return f"{os.path.splitext(checkpoint)[0]}.guide.pth"


def fit(run: Run, network: Any, path: str, plan: Tuple[Any, int], backward: Any, events: Any) -> float:
    """Trains for a number of epochs from those on that ``path`` holds; the last loss, NaN where none was left.

    ``plan``: the UserModule whose scheduler it is, and the epochs. ``backward``: gets inputs, labels and the number of the
    step, adds to the gradients and returns the loss.
    """
    user, epochs = plan
    steps = len(run.loader(run.params["trainFolder"], True))
    optimizer = run.optimizer(network.parameters())
    scheduler = user.scheduler_define(optimizer, steps)
    log = log_of({**run.params, "checkpoint": path}) if is_first() else None
    loss, board = math.nan, Board(log)
    for epoch in range(_resume(path, network, optimizer, scheduler), epochs):
        network.train()
        # Whatever the user draws to change pictures is the same after a resume.
        run.seed(run.params["seed"] * 100_003 + epoch)
        for step, (inputs, labels) in enumerate(run.loader(run.params["trainFolder"], True, epoch)):
            # Zero instead of none: momentum goes on in blocks that this step does not use, in every version of PyTorch.
            for each in network.parameters():
                each.grad = run.torch.zeros_like(each) if each.grad is None else each.grad.zero_()
            loss = backward(run.put(inputs), run.put(labels), epoch * steps + step)
            board.scalars(epoch * steps + step, loss=loss, learning_rate=optimizer.param_groups[0]["lr"])
            average_gradients(network)
            optimizer.step()
            step_scheduler(scheduler)
            events.progress(epoch * steps + step + 1, epochs * steps, f"loss {loss:.3f}")
        if is_first():
            _save(path, {
                "epoch": epoch + 1, "network": network.state_dict(), "optimizer": optimizer.state_dict(),
                "scheduler": scheduler.state_dict() if scheduler is not None else None, "torch": str(run.torch.__version__),
            })
        wait_for_all()
    return loss


def _copied(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_copied(each) for each in value)
    return value.clone()


def _distance(ours: List[Any], theirs: List[Any]) -> Any:
    """Sum over layers of the squared distance between both maps, as a share of the guide's variance: over the first
    channels, which a narrower layer has. A layer that is none (None) has no distance."""
    total = 0.0
    for our, their in zip(ours, theirs):
        if our is None:
            continue
        their = their[:, :our.shape[1]]
        total = total + (our - their).pow(2).mean() / (their.var() + 1e-5)
    return total


def _distil(run: Run, outputs: Any, guide: Any, labels: Any) -> Any:
    """Half the user's own loss, half the cross entropy against the guide's classes (Hinton et al., "Distilling the
    Knowledge in a Neural Network", 2015, section 2). The user's loss alone where outputs are no single map of classes."""
    import torch.nn.functional as F

    loss = run.user.loss_func(labels, outputs)
    if not (run.classes and hasattr(outputs, "dim") and outputs.dim() >= 2):
        return loss
    return 0.5 * loss - 0.5 * (F.softmax(guide, 1) * F.log_softmax(outputs, 1)).sum(1).mean()


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
