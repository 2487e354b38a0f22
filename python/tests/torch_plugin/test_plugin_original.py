"""The original tool's functions and samples, and the mistakes that people make with them."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import plugin_networks as networks
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

import dopt.dopt_torch.opt_main as dopt
import dopt.torch as plugin
from dopt.errors import DoptError

SHAPE = "input:1,3,32,32"


class Net(nn.Module):
    """As in the original's sample."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 20)
        self.fc2 = nn.Linear(20, 10)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        return self.fc2(F.relu(self.fc1(x)))


def refused(code, function, *arguments):
    with pytest.raises(DoptError) as caught:
        function(*arguments)
    assert caught.value.code == code, caught.value.message
    assert caught.value.suggestions
    return caught.value


def loader(count=4):
    return [(torch.randn(8, 3, 32, 32), torch.randint(0, 10, (8,))) for _ in range(count)]


def test_the_samples_run_as_they_stand(tmp_path):
    """Configuration, retraining with the extra loss, calibration, extraction: the steps of the original's guide."""
    config_file, pth_file, output_dir = (str(tmp_path / name) for name in ("config.json", "quant.pth", "output"))
    model = Net()
    dopt.generate_config_file(model, SHAPE, config_file)
    content = json.loads(Path(config_file).read_text())
    assert set(content["layer_strategy"]) == {"conv1/Conv2D", "conv2/Conv2D", "fc1/Linear", "fc2/Linear"}
    # The guide's own file has a comma too many and a comment.
    Path(config_file).write_text(Path(config_file).read_text().replace('"params_version"', '"//": "by hand",\n "params_version"'))

    quant_model = dopt.optimize_model(model, config_file)
    optimizer = torch.optim.SGD(quant_model.parameters(), lr=0.001, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    quant_model.train()
    for inputs, labels in loader():
        optimizer.zero_grad()
        loss = criterion(quant_model(inputs), labels) + 0.05 * dopt.get_quant_loss(quant_model)
        loss.backward()
        optimizer.step()
    dopt.set_calibrate_state(quant_model, True)
    quant_model.eval()
    with torch.no_grad():
        for inputs, _ in loader():
            quant_model(inputs)
    dopt.set_calibrate_state(quant_model, False)
    torch.save(quant_model.state_dict(), pth_file)

    written = dopt.generate_final_model(Net(), config_file, pth_file, output_dir)
    assert Path(written.quantized).name == "Net.int8.onnx"
    assert len([each for each in json.loads(Path(written.parameters).read_text())["tensors"] if each["kind"] == "weight"]) == 4


def prepared(tmp_path, model=None):
    path = str(tmp_path / "config.json")
    model = model or Net()
    dopt.generate_config_file(model, SHAPE, path)
    return model, path


def test_a_wrapped_model_is_refused(tmp_path):
    model, path = prepared(tmp_path)
    assert "wrap the result" in refused("PLUGIN_WRAPPED", dopt.optimize_model, nn.DataParallel(model), path).suggestions[0]


def test_a_quantized_model_is_not_quantized_again(tmp_path):
    model, path = prepared(tmp_path)
    quantized = dopt.optimize_model(model, path)
    refused("PLUGIN_QUANTIZED", dopt.optimize_model, quantized, path)
    torch.save(quantized.state_dict(), tmp_path / "q.pth")
    refused("PLUGIN_QUANTIZED", dopt.generate_final_model, quantized, path, str(tmp_path / "q.pth"), str(tmp_path / "out"))


def test_settings_of_another_network_are_refused(tmp_path):
    _, path = prepared(tmp_path)
    refused("PLUGIN_LAYER_UNKNOWN", dopt.optimize_model, networks.Mobile(), path)


def test_a_checkpoint_of_another_network_or_of_the_float_one_is_refused(tmp_path):
    model, path = prepared(tmp_path)
    torch.save(model.state_dict(), tmp_path / "float.pth")
    refused("PLUGIN_CHECKPOINT", dopt.generate_final_model, Net(), path, str(tmp_path / "float.pth"), str(tmp_path / "out"))
    torch.save(networks.Mobile().state_dict(), tmp_path / "other.pth")
    refused("PLUGIN_CHECKPOINT", dopt.generate_final_model, Net(), path, str(tmp_path / "other.pth"), str(tmp_path / "out"))
    (tmp_path / "none.pth").write_bytes(b"nothing")
    with pytest.raises(DoptError, match="Cannot read"):
        dopt.generate_final_model(Net(), path, str(tmp_path / "none.pth"), str(tmp_path / "out"))


def test_there_is_no_result_without_calibration(tmp_path):
    model, path = prepared(tmp_path)
    quantized = dopt.optimize_model(model, path)
    error = refused("PLUGIN_NO_CALIBRATION", plugin.convert, quantized, str(tmp_path / "out"))
    assert "conv1" in error.message and not (tmp_path / "out").exists()
    dopt.set_calibrate_state(quantized, True)
    refused("PLUGIN_NO_CALIBRATION", plugin.convert, quantized, str(tmp_path / "out"))
    refused("PLUGIN_NO_CALIBRATION", dopt.set_calibrate_state, quantized, False)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_stop_calibration_at_their_layer(tmp_path, value):
    model, path = prepared(tmp_path)
    model.conv2.bias.data[0] = value
    quantized = dopt.optimize_model(model, path)
    assert "fc1" in refused("PLUGIN_NOT_FINITE", plugin.calibrate, quantized, [torch.rand(2, 3, 32, 32)]).message


@pytest.mark.parametrize("sharing", [False, True])
def test_an_optimizer_on_the_float_network_is_told(tmp_path, sharing):
    model, path = prepared(tmp_path)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    quantized = dopt.optimize_model(model, path)
    plugin.calibrate(quantized, loader(1))
    quantized.train()
    x, y = loader(1)[0]

    def step(used):
        used.zero_grad()
        F.cross_entropy(quantized(x), y).backward()
        used.step()

    if sharing:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for _ in range(20):
                step(torch.optim.SGD(quantized.parameters(), lr=0.001))
    else:
        with pytest.warns(UserWarning, match="optimizer built on the float"):
            for _ in range(20):
                step(optimizer)


def test_a_float_network_is_no_quantized_one():
    refused("PLUGIN_NOT_QUANTIZED", dopt.get_quant_loss, Net())
    refused("PLUGIN_NOT_QUANTIZED", dopt.set_calibrate_state, Net(), True)


def test_inputs_that_forward_does_not_take_are_refused(tmp_path):
    refused("PLUGIN_INPUTS", dopt.generate_config_file, Net(), "a:1,3,32,32;b:1,3", str(tmp_path / "config.json"))
    refused("PLUGIN_INPUT_SHAPE", dopt.generate_config_file, Net(), "1,3,32,32", str(tmp_path / "config.json"))


def test_importing_loads_no_more_than_torch_and_numpy_in_less_than_a_second():
    code = (
        "import sys, time; import torch, numpy; start = time.process_time(); import dopt.torch, dopt.dopt_torch.opt_main;"
        "print(time.process_time() - start); assert not {'onnx', 'onnxruntime', 'PIL'} & set(sys.modules)"
    )
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    assert float(done.stdout) < 1


PROJECT = """
import sys
sys.path.insert(0, {tests!r})
import torch, plugin_networks, dopt.torch
quantized = dopt.torch.prepare(plugin_networks.Branching().eval(), "x:1,3,12,12")
quantized.train()
for step in range(1000):
    quantized(torch.randn(2, 3, 12, 12)).sum().backward()
raise SystemExit("never reached")
"""


def test_a_project_is_run_for_a_few_steps_and_told_about(tmp_path):
    from dopt.events import Events
    from dopt.plugin.probe import plugin_check

    script = tmp_path / "train.py"
    script.write_text(PROJECT.format(tests=str(Path(__file__).resolve().parent)))
    found = plugin_check({"script": str(script), "arguments": [], "steps": 3}, Events())
    assert (found["steps"], found["ended"]) == (3, "stopped")
    (network,) = found["networks"]
    assert set(network["captured"]) == {"first.0", "gate.conv", "fc"}
    assert [each["name"] for each in network["float"]] == ["gate"]
    script.write_text("x = 1\ny = x / 0\n")
    with pytest.raises(DoptError, match="ZeroDivisionError") as caught:
        plugin_check({"script": str(script), "arguments": [], "steps": 3}, Events())
    assert caught.value.code == "PLUGIN_SCRIPT" and caught.value.place == f"{script}:2"
