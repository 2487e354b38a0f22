"""The original tool's functions for transformers of torch: ``import dopt.dopt_lm.do_opt as dopt`` goes on working."""

import os
from typing import Any, Dict, List, Optional, Tuple

from torch import nn

from dopt.dopt_lm import lora, settings
from dopt.dopt_lm.layers import QuantEmbedding, QuantLinear
from dopt.dopt_lm.parameters import write_parameters
from dopt.errors import DoptError


def generate_config_file(model: nn.Module, path: str) -> None:
    """Writes dopt_config.json with an entry for each linear layer and the embedding, filled in with sensible strategies."""
    head, embedding = _ends(model)
    settings.write_settings(os.fspath(path), _layers(model), head, embedding)


def optimize_model(model: nn.Module, path: str) -> nn.Module:
    """Replaces the layers that dopt_config.json names by quantized ones, in place, and returns the model.

    Layers that no entry names stay float. A head that shares its weight with the embedding gets one of its own where both
    are quantized. Raises DoptError DOPT_CONFIG_INVALID, LLM_LAYER_UNKNOWN, LLM_GROUP_SIZE, LLM_GROUP_OF_8_BITS.
    """
    layers = _layers(model)
    entries = settings.read_settings(os.fspath(path), layers)
    made: Dict[int, str] = {}
    for name, entry in entries.items():
        layer = layers[name]
        embedding = isinstance(layer, nn.Embedding)
        if embedding and not entry.get("quant_strategy"):
            entry = {**entry, "quant_strategy": "Quant_Embed_MinMax"}
        chosen = settings.layer_settings(name, entry, layer.embedding_dim if embedding else layer.in_features)
        if chosen is None:
            continue
        if id(layer.weight) in made:
            layer.weight = nn.Parameter(layer.weight.detach().clone(), layer.weight.requires_grad)
            if getattr(model, "config", None) is not None:
                model.config.tie_word_embeddings = False
        made[id(layer.weight)] = name
        quantized = (QuantEmbedding if embedding else QuantLinear)(name, layer, chosen)
        quantized.train(layer.training)
        _replace(model, name, quantized.to(layer.weight.device))
    return model


def set_quant_state(model: nn.Module, weight_state: bool, input_state: bool) -> None:
    """Whether weights and inputs are rounded; with both off the model computes as the float one."""
    for layer in _quantized(model):
        layer.weight_state, layer.input_state = bool(weight_state), bool(input_state)


def set_calibrate_state(model: nn.Module, state: bool) -> None:
    """True: layers compute in float and watch their inputs; False: grids of inputs are set from what was seen."""
    for layer in _quantized(model):
        if layer.calibrating and not state and isinstance(layer, QuantLinear):
            layer.end_calibration()
        layer.calibrating = bool(state)


def generate_quant_params(
    model: nn.Module,
    output_dir: str,
    quant_param_2: bool = False,
    embedding_separate: bool = True,
    lm_head: Optional[int] = None,
) -> List[str]:
    """Writes fake_quant_weight.pth and quant_params.json of a model, and its embedding apart; returns their paths.

    quant_param_2: 4-bit weights are indices 0..15 of −8..7 (Kirin 9020 and 9030). lm_head: rows to pad the head to. May be
    called as often as you like. Raises DoptError LLM_NOT_QUANTIZED, LLM_NOT_CALIBRATED, LM_HEAD_SIZE, OUTPUT_WRITE.
    """
    layers = _quantized(model)
    if not layers:
        raise _not_quantized()
    options = {"quantParam2": quant_param_2, "embeddingSeparate": embedding_separate, "lmHeadSize": lm_head}
    return write_parameters(model, layers, os.fspath(output_dir), options)


def set_trainable_lora(model: nn.Module, initia_method: Optional[str] = None) -> None:
    """Freezes the model but for its adapters, and initializes those: kaiming, gaussian, pissa, or zeros for none.

    Zeros are for adapters that are loaded afterwards: they do not learn from there. Raises DoptError LLM_LORA.
    """
    lora.make_trainable(model, [layer for layer in _quantized(model) if isinstance(layer, QuantLinear)], initia_method)


def _layers(model: nn.Module) -> Dict[str, Any]:
    """Linear layers by name, and the embedding of the tokens."""
    _, embedding = _ends(model)
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) or (name == embedding and isinstance(module, nn.Embedding))
    }


def _ends(model: nn.Module) -> Tuple[Optional[str], Optional[str]]:
    """Names of the head and of the token embedding."""
    names = {id(module): name for name, module in model.named_modules()}
    ends = []
    for getter in ("get_output_embeddings", "get_input_embeddings"):
        module = getattr(model, getter)() if hasattr(model, getter) else None
        ends.append(names.get(id(module)) if module is not None else None)
    return ends[0], ends[1]


def _quantized(model: nn.Module) -> List[Any]:
    return [module for module in model.modules() if isinstance(module, (QuantLinear, QuantEmbedding))]


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent) if parent else model, last, module)


def _not_quantized() -> DoptError:
    return DoptError(
        "LLM_NOT_QUANTIZED",
        "The model has no quantized layers.",
        suggestions=["Call optimize_model(model, 'dopt_config.json') first."],
    )
