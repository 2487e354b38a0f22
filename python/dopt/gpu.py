"""GPUs as the packages of this interpreter see them, and why one cannot be used: method ``gpus`` of src/bridge/protocol.ts.

``torch_device(gpu)`` is how everything that computes with PyTorch comes to its device, so that a GPU that was asked for and
cannot be used ends a run before it began, with a reason, and never leads to the processor behind the user's back.
"""

import contextlib
from typing import Any, Callable, Dict, Iterator, List, Optional

from dopt.errors import DoptError
from dopt.events import Events

#: What PyTorch calls the devices.
KIND = "cuda"
#: What is done about a GPU that a framework cannot use.
REMEDIES = {
    "tensorflow": [
        "See what is lacking: dopt env doctor",
        "The locked TensorFlow is that for processors: --env system takes the one of your own interpreter.",
    ],
    "torch": [
        "See what is lacking: dopt env doctor",
        "--profile current has a PyTorch with CUDA; --env system takes the one of your own interpreter.",
        "Leave --device cuda out: the processor computes the same.",
    ],
    "onnxruntime": [
        "See what is lacking: dopt env doctor",
        "Install onnxruntime-gpu into an interpreter of your own and use it: --env system.",
        "Leave --device cuda out: the processor computes the same.",
    ],
}


def gpus(params: Dict[str, Any], _events: Events) -> Dict[str, Any]:
    """Devices by framework, for those of ``params["frameworks"]``; see the protocol."""
    finders: Dict[str, Callable[[], Dict[str, Any]]] = {
        "torch": _torch, "onnxruntime": _onnxruntime, "tensorflow": _tensorflow, "core": _core,
    }
    return {"frameworks": {name: finders[name]() for name in params["frameworks"]}}


def torch_device(gpu: Optional[int], exact: bool = True) -> Any:
    """``torch.device`` for the index of a GPU, None for the processor. Raises DoptError GPU_UNAVAILABLE (environment).

    ``exact``: float32 is to be computed as on the processor; training leaves to PyTorch what it rounds.
    """
    import torch

    if gpu is None:
        return torch.device("cpu")
    require("torch", _torch(), gpu)
    if exact:  # not in the ten bits of mantissa of TF32, and with the same kernels each time
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False
    return torch.device(KIND, gpu)


def require(framework: str, found: Dict[str, Any], gpu: int) -> None:
    """Raises DoptError GPU_UNAVAILABLE where ``found``, an answer of ``gpus`` for a framework, has no usable GPU of this index."""
    reason = found["reason"]
    if reason is None and gpu >= len(found["devices"]):
        count = len(found["devices"])
        reason = f"there {'is' if count == 1 else 'are'} {count}, numbered from 0"
    if reason is None:
        reason = found["devices"][gpu]["reason"]
    if reason is not None:
        raise DoptError(
            "GPU_UNAVAILABLE", f"GPU {gpu} cannot be used: {reason}.", kind="environment", suggestions=REMEDIES[framework]
        )


@contextlib.contextmanager
def memory_explained(device: Any, suggestions: List[str]) -> Iterator[None]:
    """Turns what PyTorch raises when the memory of a GPU is full into DoptError GPU_MEMORY (environment)."""
    try:
        yield
    except RuntimeError as error:
        if device.type == "cpu" or "out of memory" not in str(error):
            raise
        text = str(error).splitlines()[0]
        raise DoptError(
            "GPU_MEMORY", f"The memory of {device} is full: {text}", kind="environment", suggestions=suggestions
        ) from error


def _torch() -> Dict[str, Any]:
    try:
        import torch
    except ImportError as error:
        return _none(None, f"PyTorch cannot be imported ({error})")
    version = torch.__version__
    if torch.version.cuda is None:
        return _none(version, f"PyTorch {version} is built without CUDA")
    if not torch.cuda.is_available():
        try:
            torch.cuda.init()
            reason = "its driver shows no device"
        except (RuntimeError, AssertionError) as error:
            reason = str(error).split(". ")[0].strip().rstrip(".")
        return _none(version, f"PyTorch {version} for CUDA {torch.version.cuda} says: {reason}")
    architectures = torch.cuda.get_arch_list()
    devices = []
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        capability = (found.major, found.minor)
        lacks = None
        if not has_code(capability, architectures):
            lacks = f"PyTorch {version} has no code for {found.name} (capability {found.major}.{found.minor})"
        devices.append({"name": found.name, "memory": found.total_memory, "reason": lacks})
    return {"version": version, "devices": devices, "reason": None}


def has_code(capability: Any, architectures: List[str]) -> bool:
    """Whether a build for ``architectures`` (sm_80, compute_90) runs on a device of a compute capability (major, minor).

    Machine code runs on the same major and a minor that is no less; PTX, named compute_, on all that is newer.
    """
    for name in architectures:
        kind, _, digits = name.partition("_")
        digits = "".join(each for each in digits if each.isdigit())
        made = (int(digits[:-1]), int(digits[-1]))
        if kind == "sm" and made[0] == capability[0] and made[1] <= capability[1]:
            return True
        if kind == "compute" and made <= tuple(capability):
            return True
    return False


def _onnxruntime() -> Dict[str, Any]:
    try:
        import onnxruntime
    except ImportError as error:
        return _none(None, f"onnxruntime cannot be imported ({error})")
    version = onnxruntime.__version__
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return _none(version, f"onnxruntime {version} is built without CUDA")
    return {"version": version, "devices": _torch()["devices"] or _core()["devices"], "reason": None}


def _tensorflow() -> Dict[str, Any]:
    try:
        import tensorflow as tf
    except ImportError as error:
        return _none(None, f"TensorFlow cannot be imported ({error})")
    version = tf.__version__
    if not tf.test.is_built_with_cuda():
        return _none(version, f"TensorFlow {version} is built without CUDA")
    found = tf.config.list_physical_devices("GPU")
    if not found:
        return _none(version, f"TensorFlow {version} finds no device")
    details = [tf.config.experimental.get_device_details(each) for each in found]
    devices = [{"name": each.get("device_name", "GPU"), "memory": None, "reason": None} for each in details]
    return {"version": version, "devices": devices, "reason": None}


def _core() -> Dict[str, Any]:
    from dopt import native_cuda

    core = native_cuda.load()
    if core is None:
        return _none(None, str(native_cuda.unavailable()))
    devices = [{"name": each["name"], "memory": each["memory"], "reason": None} for each in core.devices]
    return {"version": str(core.build_info()["runtime"]), "devices": devices, "reason": None}


def _none(version: Optional[str], reason: str) -> Dict[str, Any]:
    return {"version": version, "devices": [], "reason": reason}
