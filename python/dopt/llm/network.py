"""Networks of transformers without weights: built from config.json alone, their parameters by name."""

import contextlib
import os
import re
from typing import Any, Dict, Iterator, Tuple

from dopt.errors import DoptError, in_a_line


#: Blocks, and experts of a block, that a model may have: some ten times those of the largest.
MOST_BLOCKS = 5_000
_COUNTED = re.compile(r"layers?$|experts$|^depth$")


def build_network(folder: str, trust_remote_code: bool = False) -> Tuple[Any, Any]:
    """Settings and network of config.json in ``folder``, without weights. Raises DoptError LLM_ARCHITECTURE."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        _refuse_endless(config.to_dict())
        config._experts_implementation = "eager"
        with empty_weights(torch):
            network = AutoModelForCausalLM.from_config(
                config, attn_implementation="eager", torch_dtype=torch.float32, trust_remote_code=trust_remote_code
            ).eval()
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - settings that do not fit together end in exceptions of any type.
        raise unknown_architecture(folder, error) from error
    return config, network


def require_transformers() -> None:
    """Imports transformers quietly. Raises DoptError LLM_TRANSFORMERS (environment)."""
    os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import transformers
    except ImportError as error:
        raise DoptError(
            "LLM_TRANSFORMERS",
            f"Language models need transformers, which this Python lacks: {error}.",
            kind="environment",
            suggestions=["Run `dopt env create torch`, or install transformers into the environment you named."],
        ) from error
    transformers.utils.logging.set_verbosity_error()


@contextlib.contextmanager
def empty_weights(torch: Any) -> Iterator[None]:
    """Parameters that are made meanwhile lie on the meta device and are not initialized; buffers are real.

    ``torch.device("meta")`` as a context does the same since PyTorch 2.0, but takes the buffers as well.
    """
    from transformers import PreTrainedModel

    register = torch.nn.Module.register_parameter
    initialize = PreTrainedModel.init_weights

    def on_meta(module: Any, name: str, parameter: Any) -> None:
        register(module, name, parameter)
        if parameter is not None:
            module._parameters[name] = torch.nn.Parameter(parameter.to("meta"), requires_grad=False)

    torch.nn.Module.register_parameter = on_meta
    PreTrainedModel.init_weights = lambda self: None
    try:
        yield
    finally:
        torch.nn.Module.register_parameter = register
        PreTrainedModel.init_weights = initialize


def versions() -> Dict[str, str]:
    """Of what computes."""
    import torch
    import transformers

    return {"torch": torch.__version__, "transformers": transformers.__version__}


def parameters_of(module: Any, prefix: str) -> Iterator[Tuple[Any, str, str]]:
    """(owner, leaf, full name) of every parameter below ``module``, shared ones as often as they come."""
    for path, owner in module.named_modules():
        for leaf, value in owner._parameters.items():
            if value is not None:
                yield owner, leaf, ".".join(part for part in (prefix, path, leaf) if part)


def parameter_names(network: Any) -> Dict[str, Tuple[int, ...]]:
    """Shape of each parameter by its name."""
    return {name: tuple(owner._parameters[leaf].shape) for owner, leaf, name in parameters_of(network, "")}


def empty(module: Any) -> None:
    """Takes the weights from every parameter below ``module``; their memory is free."""
    import torch

    for owner, leaf, _ in parameters_of(module, ""):
        old = owner._parameters[leaf]
        owner._parameters[leaf] = torch.nn.Parameter(torch.empty(old.shape, device="meta"), requires_grad=False)


def move_buffers(network: Any, device: Any) -> None:
    """Brings what a network keeps besides its parameters to a device."""
    for module in network.modules():
        for name, value in module._buffers.items():
            module._buffers[name] = None if value is None else value.to(device)


def _refuse_endless(settings: Dict[str, Any]) -> None:
    """Raises ValueError for so many blocks or experts that building the network would not end: a damaged file."""
    for key, value in settings.items():
        if isinstance(value, dict):
            _refuse_endless(value)
        elif _COUNTED.search(str(key)) and isinstance(value, int) and value > MOST_BLOCKS:
            raise ValueError(f"{key} is {value}, more than any model has")


def unknown_architecture(folder: str, error: Exception) -> DoptError:
    known = versions()
    return DoptError(
        "LLM_ARCHITECTURE",
        f"transformers {known['transformers']} with torch {known['torch']} cannot open {folder}: {in_a_line(error)}",
        place=os.path.join(folder, "config.json"),
        suggestions=[
            "A newer architecture may need the newest transformers: --profile current.",
            "A model with code of its own needs --trust-remote-code.",
        ],
    )
