"""The plug-in's settings file: what is written can be read, and what is wrong with one is named."""

import json

import pytest

from dopt.errors import DoptError
from dopt.plugin.config import LayerName, parse_shapes, read_config, resolve, write_config

LAYERS = [
    LayerName("conv1", "Conv2d", "Conv2D"),
    LayerName("layer1.0.conv1", "Conv2d", "Conv2D"),
    LayerName("layer1.0.conv2", "Conv2d", "Conv2D"),
    LayerName("fc", "Linear", "Linear"),
]


def write(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    return str(path)


def settings(strategies, **more):
    layers = {name: {"quant_strategy": strategy} for name, strategy in strategies.items()}
    return json.dumps({"input_shape": "input:1,3,32,32", "layer_strategy": layers, **more})


def refused(path, code="PLUGIN_CONFIG"):
    with pytest.raises(DoptError) as caught:
        resolve(read_config(path), LAYERS)
    assert caught.value.code == code
    return caught.value


def test_what_is_written_can_be_read(tmp_path):
    path = str(tmp_path / "new" / "config.json")
    write_config(path, LAYERS, "input:1,3,32,32")
    content = json.loads((tmp_path / "new" / "config.json").read_text())
    assert content["layer_strategy"]["conv1/Conv2D"] == {"op_type": "Conv2d", "quant_strategy": "Quant_INT8-8"}
    assert content["quant_strategy_for op 'Conv2d'"][0] == "float"
    config = read_config(path)
    assert config.inputs == {"input": (1, 3, 32, 32)} and config.params_version == "v2"
    assert resolve(config, LAYERS) == {layer.path: "Quant_INT8-8" for layer in LAYERS}


def test_samples_with_comments_and_trailing_commas_are_accepted_with_a_warning(tmp_path):
    text = """{
  "quant_strategy_for op 'Conv2d'": ["Quant_INT8-8", ],
  "//": "a comment, with ,] in it",
  "input_shape": "input:1,3,32,32",
  "params_version": "v1",
  "layer_strategy": {
    "//": "inside",
    "conv1/Conv2D": { "op_type": "Conv2D", "quant_strategy": "Quant_INT8-8", },
  },
}"""
    with pytest.warns(UserWarning) as caught:
        config = read_config(write(tmp_path, text))
    texts = [str(each.message) for each in caught]
    assert sum("comma" in each for each in texts) == 4 and sum("as a comment" in each for each in texts) == 2
    assert any(":8: a comma" in each for each in texts)
    assert config.params_version == "v1"
    assert resolve(config, LAYERS) == {"conv1": "Quant_INT8-8", "layer1.0.conv1": "float", "layer1.0.conv2": "float", "fc": "float"}


def test_names_count_more_than_patterns_and_later_patterns_more(tmp_path):
    strategies = {"layer1.0.conv1/Conv2D": "float", "*": "Quant_INT8-8", "layer1.*": "Quant_INT16-8"}
    config = read_config(write(tmp_path, settings(strategies)))
    assert list(resolve(config, LAYERS).values()) == ["Quant_INT8-8", "float", "Quant_INT16-8", "Quant_INT8-8"]


def test_a_mistyped_layer_is_named_with_near_matches(tmp_path):
    error = refused(write(tmp_path, settings({"conv_1": "float"})), "PLUGIN_LAYER_UNKNOWN")
    assert "conv1/Conv2D" in error.suggestions[0]


def test_a_pattern_that_fits_nothing_is_refused(tmp_path):
    refused(write(tmp_path, settings({"backbone.*": "float"})), "PLUGIN_LAYER_UNKNOWN")


def test_settings_of_another_network_are_told_by_the_type(tmp_path):
    text = json.dumps({
        "input_shape": "x:1,3",
        "layer_strategy": {"conv1": {"op_type": "Linear", "quant_strategy": "float"}},
    })
    assert "not a Linear" in refused(write(tmp_path, text), "PLUGIN_LAYER_TYPE").message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (settings({"*": "Quant_INT8"}), "Quant_INT8-8"),
        (settings({"*": "float"}, layer_stategy={}), "layer_strategy"),
        (settings({"*": "float"}, params_version="v3"), "v1, v2"),
        (settings({"*": "float"}, input_shape="1,3,32,32"), "expected shapes"),
        ('{"layer_strategy": []}', "expected settings in braces"),
        ('{"layer_strategy": {}}', "'input_shape' is missing"),
        ('{"input_shape": "x:1" "layer_strategy": {}}', "1:23 is not JSON"),
        ('{"input_shape": "x:1", "input_shape": "x:2"}', "given twice"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text, said):
    error = refused(write(tmp_path, text))
    assert said in error.message + " ".join(error.suggestions)


def test_a_file_that_is_not_there_is_named(tmp_path):
    assert "none.json" in refused(str(tmp_path / "none.json")).message


@pytest.mark.parametrize("text", ["", "x", "x:", "x:1,,3", "x:0,3", "x:1;x:2", ":1,2", "x:1,a"])
def test_shapes_that_are_none_are_refused(text):
    with pytest.raises(DoptError, match="shape"):
        parse_shapes(text)


def test_several_inputs_keep_their_order():
    assert list(parse_shapes("b:1,2; a : 3 ;").items()) == [("b", (1, 2)), ("a", (3,))]
