"""Time and memory of a training step of ResNet20, quantized beside float, in one run: ``npm run bench:plugin``.

Processor seconds, the least of several steps by turns, so that other programs on the machine matter little. Prints JSON.
"""

import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "recipes" / "plugin")]

BATCH, ROUNDS = 128, 4


def main() -> None:
    import torch
    from cifar_resnet20 import ResNet20

    import dopt.torch
    from dopt.torch.network import layers_in

    torch.manual_seed(0)
    x, y = torch.randn(BATCH, 3, 32, 32), torch.arange(BATCH) % 10
    network = ResNet20()
    stages = {"float": network}
    for name, warm_up in (("warm-up", 1 << 30), ("frozen", 0)):
        quantized = dopt.torch.prepare(network, "x:1,3,32,32", batch_norm_warm_up=warm_up)
        dopt.torch.calibrate(quantized, [x])
        assert all(layer.warm_up == warm_up for layer in layers_in(quantized))
        stages[name] = quantized
    optimizers = {name: torch.optim.SGD(each.parameters(), 0.01, momentum=0.9) for name, each in stages.items()}
    times = {name: [] for name in stages}
    for round_ in range(ROUNDS + 1):
        for name, each in stages.items():
            seconds = step(each, optimizers[name], x, y)
            if round_:
                times[name].append(seconds)
    best = {name: min(seconds) for name, seconds in times.items()}
    memory = {name: peak_of_step(name) for name in ("float", "frozen")}
    print(json.dumps({
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "seconds": best,
        "ratio": {name: best[name] / best["float"] for name in ("warm-up", "frozen")},
        "peakBytes": memory,
        "memoryRatio": memory["frozen"] / memory["float"],
    }))


def step(network, optimizer, x, y) -> float:
    """Processor seconds of one step."""
    import torch.nn.functional as functional

    network.train()
    start = time.process_time()
    optimizer.zero_grad()
    functional.cross_entropy(network(x), y).backward()
    optimizer.step()
    return time.process_time() - start


def peak_of_step(stage: str) -> int:
    """Bytes that two training steps add to the resident set, in a process of their own."""
    import subprocess

    done = subprocess.run([sys.executable, __file__, stage], stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout.split()[-1])


def one(stage: str) -> None:
    """Runs two steps and prints the bytes that they added."""
    import torch
    from cifar_resnet20 import ResNet20

    import dopt.torch
    from dopt.execute.peak import peak_bytes

    x, y = torch.randn(BATCH, 3, 32, 32), torch.arange(BATCH) % 10
    network = ResNet20()
    if stage != "float":
        network = dopt.torch.prepare(network, "x:1,3,32,32", batch_norm_warm_up=0)
        dopt.torch.calibrate(network, [x[:2]])
    before = peak_bytes()
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    for _ in range(2):
        step(network, optimizer, x, y)
    print(peak_bytes() - before)


if __name__ == "__main__":
    one(sys.argv[1]) if len(sys.argv) > 1 else main()
