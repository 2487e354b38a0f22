"""Makes everything in this folder that is not text: the pictures, their labels and model.onnx.

    pip install torch==2.13.0 scikit-learn==1.9.1 onnx==1.23.2 onnxruntime==1.32.0 pillow==13.0.0
    python recipes/digits/train.py

The 1,797 pictures are divided once, by seed: 400 to test, 200 to calibrate, the rest to train. The model that is
kept is the one of the last epoch; no picture of the test set has a say in it.
"""

import shutil
from pathlib import Path

import numpy as np
import torch
from network import DigitNet
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

HERE = Path(__file__).resolve().parent
SEED = 7
SIDE = 16
TESTED = 400
CALIBRATED = 200
EPOCHS = 80
BATCH = 64


def enlarge(picture: np.ndarray) -> np.ndarray:
    """float64[8, 8] in 0..16 -> uint8[16, 16] in 0..255, bilinear."""
    small = np.rint(picture * (255 / 16)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def divide(count: int) -> "dict[str, np.ndarray]":
    """Indices of the three sets, which share no picture, each in rising order."""
    order = np.random.default_rng(SEED).permutation(count)
    parts = np.split(order, [TESTED, TESTED + CALIBRATED])
    return {name: np.sort(part) for name, part in zip(("test", "calibration", "training"), parts)}


def write_pictures(pictures: np.ndarray, labels: np.ndarray, sets: "dict[str, np.ndarray]") -> None:
    """data/test, data/calibration and data/labels.txt; files are named by the picture's place in scikit-learn's set."""
    shutil.rmtree(HERE / "data", ignore_errors=True)
    for name in ("test", "calibration"):
        folder = HERE / "data" / name
        folder.mkdir(parents=True)
        for index in sets[name]:
            Image.fromarray(pictures[index]).save(folder / f"digit-{index:04}.png", optimize=True)
    lines = [f"digit-{index:04}.png {labels[index]}\n" for index in sets["test"]]
    (HERE / "data" / "labels.txt").write_text("".join(lines))


def to_input(pictures: np.ndarray) -> torch.Tensor:
    """uint8[N, 16, 16] -> float32[N, 1, 16, 16] in 0..1."""
    return torch.from_numpy(pictures).float().div(255).unsqueeze(1)


def distort(x: torch.Tensor) -> torch.Tensor:
    """Turned by up to 12 degrees, scaled by up to 12 %, moved by up to 1.5 pixels; each picture on its own."""
    count = len(x)
    angle = (torch.rand(count) * 2 - 1) * np.deg2rad(12)
    scale = 1 + (torch.rand(count) * 2 - 1) * 0.12
    shift = (torch.rand(count, 2) * 2 - 1) * (1.5 * 2 / SIDE)
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = [torch.stack([cosine, -sine, shift[:, 0]], 1), torch.stack([sine, cosine, shift[:, 1]], 1)]
    grid = functional.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, align_corners=False)


def train(x: torch.Tensor, y: torch.Tensor) -> DigitNet:
    """The network after EPOCHS passes over distorted pictures, in evaluation mode."""
    torch.manual_seed(SEED)
    net = DigitNet().train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3, weight_decay=0.02)
    steps = EPOCHS * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    for epoch in range(EPOCHS):
        total = 0.0
        # A last batch that is not full would make noisy batch statistics; those pictures come in another epoch.
        for rows in torch.randperm(len(x))[: len(x) // BATCH * BATCH].split(BATCH):
            optimizer.zero_grad()
            loss = loss_of(net(distort(x[rows])), y[rows])
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * BATCH
        print(f"epoch {epoch + 1}/{EPOCHS}: loss {total / len(x):.4f}", flush=True)
    return net.eval()


def export(net: DigitNet, path: Path) -> None:
    """ONNX opset 13 with BatchNormalization as it was trained and a free batch size."""
    torch.onnx.export(
        net,
        (torch.zeros(2, 1, SIDE, SIDE),),
        str(path),
        dynamo=False,
        opset_version=13,
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
    )


def check(net: DigitNet, path: Path, x: torch.Tensor) -> np.ndarray:
    """Logits of the file, after making sure that it computes what the network does and is what was promised."""
    import onnx
    import onnxruntime

    model = onnx.load(str(path))
    onnx.checker.check_model(model)
    operators = [node.op_type for node in model.graph.node]
    for operator in ("BatchNormalization", "Clip", "Add", "Gemm"):
        if operator not in operators:
            raise SystemExit(f"{path.name} has no {operator}: {sorted(set(operators))}")
    if not all(node.name for node in model.graph.node):
        raise SystemExit(f"{path.name} has nodes without a name")
    with torch.no_grad():
        expected = net(x).numpy()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {"image": x.numpy()})[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    return found


def main() -> None:
    # So small a network is fastest on one thread, and sums come out the same on every machine with as many.
    torch.set_num_threads(1)
    digits = load_digits()
    pictures = np.stack([enlarge(picture) for picture in digits.images])
    sets = divide(len(pictures))
    write_pictures(pictures, digits.target, sets)
    labels = torch.from_numpy(digits.target).long()
    net = train(to_input(pictures[sets["training"]]), labels[sets["training"]])
    path = HERE / "model.onnx"
    export(net, path)
    logits = check(net, path, to_input(pictures[sets["test"]]))
    right = int((logits.argmax(1) == digits.target[sets["test"]]).sum())
    parameters = sum(parameter.numel() for parameter in net.parameters())
    print(f"{parameters} parameters, {path.stat().st_size} bytes")
    print(f"test accuracy {right}/{TESTED} = {right / TESTED:.2%}")


if __name__ == "__main__":
    main()
