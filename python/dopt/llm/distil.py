"""Method ``llmDistil`` of src/bridge/protocol-llm.ts: scales and norms trained until the quantized model speaks as the float one.

Integers stay, so the result is as exact as before (EfficientQAT, arXiv:2407.11062, section 3.3, trains scales end to end in
the same way). The teacher's likeliest logits are computed once and kept; all other tokens count as one, whose share is the
rest (Peng et al., "Pre-training Distillation", arXiv:2410.16215, keeps logits alike).
"""

import hashlib
import json
import math
import os
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

from dopt import safetensors
from dopt.capture.save import discard
from dopt.events import Events
from dopt.execute.peak import peak_bytes
from dopt.gpu import memory_explained, torch_device
from dopt.llm.load import open_model
from dopt.llm.place import SMALLER
from dopt.llm.processes import Processes, together
from dopt.llm.restore import open_quantized
from dopt.llm.stream import Stream
from dopt.llm.student import Student, write_trained
from dopt.llm.tokens import samples_of
from dopt.llm.whole import through_blocks
from dopt.safetensors import write_error

CHECKPOINT = "checkpoint.safetensors"


class Teacher(NamedTuple):
    """What the float model says: [samples, length - 1, top]; ``values`` are log-probabilities or, for mse, logits."""

    values: Any
    tokens: Any


def distil(params: Dict[str, Any], events: Events) -> Dict[str, Any]:
    """Trains and writes another quantized model; see protocol-llm.ts."""
    with together(params["processes"], "llmDistil", params) as group:
        return _distil(params, events if group.first else Events(), group)


def _distil(params: Dict[str, Any], events: Events, group: Processes) -> Dict[str, Any]:
    """The part of one process of a group; the first one writes, the others answer nothing."""
    device = torch_device(group.gpu(params.get("gpu")))
    with memory_explained(device, SMALLER):
        return _train(params, events, group, device)


def _train(params: Dict[str, Any], events: Events, group: Processes, device: Any) -> Dict[str, Any]:
    import torch

    torch.set_num_threads(max(1, params["threads"] // group.size))
    started = time.monotonic()
    torch.manual_seed(params["seed"])
    restored = open_quantized(params["quantized"], params["trustRemoteCode"], device)
    vocabulary = restored.names[f"{restored.embedding_name}.weight"][0]
    ids, text = samples_of(params["text"], params["model"], vocabulary, params["trustRemoteCode"])
    ids = torch.from_numpy(ids).to(device)
    teacher = _teach(params, ids, events, group)
    student = Student(restored, params["trainable"])
    training = Training(params, student, ids, teacher, events, group)
    result = training.run()
    if not group.first:
        return {}
    path = write_trained(params["out"], student)
    training.forget()
    with open(path, encoding="utf-8") as file:
        digest = json.load(file)["digest"]
    return {
        "folder": params["out"],
        "text": text,
        **result,
        "digest": digest,
        "seconds": time.monotonic() - started,
        "peakBytes": peak_bytes(),
    }


class Training:
    """The loop: micro batches, accumulation, schedule, checkpoints; the best parameters stay."""

    def __init__(
        self, params: Dict[str, Any], student: Student, ids: Any, teacher: Teacher, events: Events, group: Processes
    ) -> None:
        import torch

        self.params, self.student, self.ids, self.teacher, self.events = params, student, ids, teacher, events
        self.group = group
        every = params["heldBack"]
        self.judging = [i for i in range(len(ids)) if i % every == min(every, len(ids)) - 1]
        self.making = [i for i in range(len(ids)) if i not in self.judging]
        per_step = params["microBatch"] * params["accumulation"]
        self.steps = max(1, math.ceil(params["epochs"] * len(self.making) / per_step))
        parameters = student.parameters()
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for name, p in parameters.items() if name.startswith("scale/")], "lr": params["learningRate"]},
                {"params": [p for name, p in parameters.items() if name.startswith("norm/")], "lr": params["learningRate"] / 5},
            ],
            weight_decay=params["weightDecay"],
        )
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.losses: List[float] = []
        self.best: Tuple[float, Dict[str, Any]] = (math.inf, {})

    def run(self) -> Dict[str, Any]:
        """Trains; returns steps, before, after, losses and resumedAt."""
        first, before = self._resume()
        if first == 0:
            before = self.judge()
            self.best = (before, self.student.snapshot())
        for step in range(first, self.steps):
            self.losses.append(self._step(step))
            self.events.progress(step, self.steps, f"step {step} of {self.steps}, loss {self.losses[-1]:.5f}")
            last = step + 1 == self.steps
            if last or (step + 1) % self.params["checkpointSteps"] == 0:
                found = self.judge()
                if found < self.best[0]:
                    self.best = (found, self.student.snapshot())
                if self.group.first:
                    self._save(step + 1, before)
        self.student.restore(self.best[1])
        return {"steps": self.steps, "before": before, "after": self.best[0], "losses": self.losses, "resumedAt": first}

    def judge(self) -> float:
        """Mean loss on the samples that judge."""
        import torch

        with torch.no_grad():
            own = self.group.share(self.judging)
            found = [float(self._loss(part)) * len(part) for part in _parts(own, self.params["microBatch"])]
        return self.group.total(sum(found)) / len(self.judging)

    def forget(self) -> None:
        """Removes the checkpoint: the result is written."""
        discard(self._path())

    def _step(self, step: int) -> float:
        import torch

        for group, rate in zip(self.optimizer.param_groups, self.rates):
            group["lr"] = rate * schedule(self.params["schedule"], step, self.steps, self.params["warmupSteps"])
        taken = self._samples(step)
        total = 0.0
        self.optimizer.zero_grad()
        for part in _parts(self.group.share(taken), self.params["microBatch"]):
            loss = self._loss(part) * (len(part) / len(taken))
            loss.backward()
            total += float(loss.detach())
        parameters = [each for group in self.optimizer.param_groups for each in group["params"]]
        if self.group.size > 1:
            for each in parameters:  # a share may be empty
                each.grad = torch.zeros_like(each) if each.grad is None else each.grad
            self.group.sum([each.grad for each in parameters])
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        self.optimizer.step()
        return self.group.total(total)

    def _samples(self, step: int) -> List[int]:
        """Samples of a step: each epoch is an order of its own, the same whenever it is asked for."""
        import numpy as np

        per_step = self.params["microBatch"] * self.params["accumulation"]
        found: List[int] = []
        position = step * per_step
        while len(found) < min(per_step, len(self.making)):
            epoch, at = divmod(position + len(found), len(self.making))
            order = np.random.RandomState((self.params["seed"] + 7919 * epoch) % 2**32).permutation(len(self.making))
            found.append(self.making[order[at]])
        return found

    def _loss(self, samples: List[int]) -> Any:
        logits = self.student.network(input_ids=self.ids[samples], use_cache=False).logits[:, :-1]
        values, tokens = self.teacher.values[samples], self.teacher.tokens[samples].long()
        if self.params["loss"] == "mse":
            return ((logits.float().gather(2, tokens) - values) ** 2).mean()
        return divergence(logits.float(), values, tokens, self.params["temperature"])

    def _path(self) -> str:
        return os.path.join(self.params["out"], CHECKPOINT)

    def _fingerprint(self) -> str:
        free = ("out", "threads", "processes", "resume", "model", "quantized", "text", "gpu")
        decides = {key: value for key, value in self.params.items() if key not in free}
        digest = hashlib.sha256(json.dumps([decides, self.student.restored.reader.index["digest"]], sort_keys=True).encode())
        digest.update(self.ids.cpu().numpy().tobytes())
        return digest.hexdigest()

    def _save(self, done: int, before: float) -> None:
        """A checkpoint: parameters, the best ones, the optimizer's moments."""
        import numpy as np
        import torch

        tensors = {f"now/{name}": value.cpu().numpy() for name, value in self.student.snapshot().items()}
        tensors.update((f"best/{name}", value.cpu().numpy()) for name, value in self.best[1].items())
        names = {id(parameter): name for name, parameter in self.student.parameters().items()}
        for parameter, state in self.optimizer.state.items():
            for key, value in state.items():
                tensors[f"{key}/{names[id(parameter)]}"] = np.asarray(value.cpu() if torch.is_tensor(value) else value, np.float32)
        content = {"fingerprint": self._fingerprint(), "done": done, "before": before, "best": self.best[0], "losses": self.losses}
        tensors["state"] = np.frombuffer(json.dumps(content).encode(), np.uint8)
        path = self._path()
        try:
            os.makedirs(self.params["out"], exist_ok=True)
            safetensors.write(f"{path}.part", tensors)
            os.replace(f"{path}.part", path)
        except OSError as error:
            raise write_error(path, error) from error
        finally:
            discard(f"{path}.part")

    def _resume(self) -> Tuple[int, float]:
        """Steps that an earlier run of the same kind made, and the loss before all of them."""
        import numpy as np
        import torch

        if not (self.params["resume"] and os.path.isfile(self._path())):
            return 0, math.nan
        found = {name: np.array(array) for name, array in safetensors.read(self._path()).items()}
        content = json.loads(found.pop("state").tobytes().decode())
        if content["fingerprint"] != self._fingerprint():
            return 0, math.nan
        tensors = {name: torch.from_numpy(array).to(self.ids.device) for name, array in found.items()}
        parameters = self.student.parameters()
        self.student.restore({name: tensors[f"now/{name}"] for name in parameters})
        self.best = (content["best"], {name: tensors[f"best/{name}"] for name in parameters})
        self.losses = content["losses"]
        for name, parameter in parameters.items():
            state = {key: tensors[f"{key}/{name}"] for key in ("exp_avg", "exp_avg_sq")}
            step = tensors[f"step/{name}"]
            old = torch.__version__.startswith("1.11.")  # counts steps in a plain number
            self.optimizer.state[parameter] = {**state, "step": int(step) if old else step.cpu()}
        return content["done"], content["before"]


def divergence(logits: Any, values: Any, tokens: Any, temperature: float) -> Any:
    """Mean Kullback-Leibler divergence to the teacher's distribution over its likeliest tokens and the rest as one.

    logits: float32 [batch, length, vocabulary] of the student; values: log-probabilities of the teacher at ``temperature``
    for tokens, both [batch, length, top]. The result is scaled by temperature², which keeps gradients of one size.
    """
    import torch

    mine = torch.log_softmax(logits / temperature, dim=-1).gather(2, tokens)
    rest, my_rest = (torch.log1p(-each.exp().sum(-1).clamp(max=1 - 1e-6)) for each in (values, mine))
    kept = (values.exp() * (values - mine)).sum(-1)
    return (kept + rest.exp() * (rest - my_rest)).mean() * temperature**2


def schedule(kind: str, step: int, steps: int, warmup: int) -> float:
    """Share of the learning rate at a step."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if kind == "constant":
        return 1.0
    done = (step - warmup) / max(1, steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * done)) if kind == "cosine" else 1.0 - done


def _teach(params: Dict[str, Any], ids: Any, events: Events, group: Processes) -> Teacher:
    """Runs the float model once over all samples, block by block, each process over its share."""
    import torch

    stream = Stream(open_model(params["model"], params["trustRemoteCode"], ids.device))
    batches = [ids[part] for part in _parts(group.share(list(range(len(ids)))), params["microBatch"])]
    _, (hidden,) = through_blocks([stream], batches, [None], 1, events)
    values, tokens = [], []
    with torch.no_grad():
        for index, batch in enumerate(batches):
            events.progress(index, len(batches), f"teacher {index} of {len(batches)}")
            logits = stream.end(batch, hidden[index])[:, :-1].float()
            if params["loss"] == "kl":
                logits = torch.log_softmax(logits / params["temperature"], dim=-1)
            found = logits.topk(min(params["top"], logits.shape[-1] - 1), dim=-1)
            values.append(found.values)
            tokens.append(found.indices.int())
    return Teacher(group.gather(torch.cat(values), len(ids)), group.gather(torch.cat(tokens), len(ids)))


def _parts(items: List[int], size: int) -> Iterator[List[int]]:
    return (items[first : first + size] for first in range(0, len(items), size))
