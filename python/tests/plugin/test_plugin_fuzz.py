"""Damaged settings files of the plug-in: each is read or refused with a DoptError."""

import warnings

from fuzzing import damaged_json, fuzz

from dopt.plugin.config import LayerName, read_config, resolve

LAYERS = [LayerName("layer1.conv1", "Conv2d", "Conv2D"), LayerName("layer2.conv1", "Conv2d", "Conv2D"), LayerName("fc", "Linear", "Linear")]


def test_settings_files(tmp_path):
    good = {
        "quant_strategy_for op 'Conv2d'": ["NoQuant", "Quant_INT8-8"],
        "input_shape": "input:1,3,8,8;mask:1,8",
        "params_version": "v2",
        "layer_strategy": {
            "layer*.conv1/Conv2D": {"op_type": "Conv2d", "quant_strategy": "Quant_INT8-8"},
            "fc/Linear": {"op_type": "Linear", "quant_strategy": "Quant_INT16-8"},
        },
        "// a comment": "of the user's",
    }
    path = tmp_path / "config.json"

    def read(data):
        path.write_bytes(data)
        resolve(read_config(path), LAYERS)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcomes = fuzz("settings files", 2000, lambda rng: damaged_json(rng, [good]), read)
    assert outcomes["read"] and outcomes["PLUGIN_CONFIG"]
