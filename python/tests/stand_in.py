"""A device of PyTorch that is none: its tensors lie in host memory, and every operation on them runs on the processor.

To PyTorch it is a device like a GPU: tensors of it and of the processor do not mix in one operation, it has no numpy arrays,
and modules, factories and ``to`` take its name. So code that was written for a GPU runs here as it is, numbers and all, and
what it forgets to move fails as it would there. Needs a PyTorch whose dispatcher takes a backend written in Python (2.9).
"""

import ctypes
import threading

from dopt.device_arrays import DLTensor

NAME = "standin"
_CPU, _DEVICE = 1, 12  # kDLCPU; kDLExtDev, which is PyTorch's PrivateUse1
_MAY_MIX = ("aten::copy_", "aten::_copy_from", "aten::_to_copy", "aten::_copy_from_and_resize")
#: Aliases between looks at which of them PyTorch has given up.
_SWEEP = 256

_held, _arrays, _types = {}, {}, {}
_sweeping = threading.Lock()
_state = {"library": None, "operations": 0, "swept": 0}


_DELETER = ctypes.cast(ctypes.CDLL(None).pthread_spin_unlock, ctypes.c_void_p)
_capsule = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", ctypes.pythonapi)
)


class _Managed(ctypes.Structure):
    """DLManagedTensor of https://dmlc.github.io/dlpack."""

    _fields_ = [("tensor", DLTensor), ("manager", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


def install():
    """Makes the device known to PyTorch, once a process; its name, for ``torch.device``. None where PyTorch is too old."""
    import torch

    if _state["library"] is None:
        try:
            from torch.utils.backend_registration import _setup_privateuseone_for_python_backend as setup
        except ImportError:
            return None
        setup(NAME)
        _name_operations()
        _state["library"] = torch.library.Library("_", "IMPL")
        _state["library"].fallback(_run, "PrivateUse1")
        _state["convolutions"] = torch.library.Library("aten", "IMPL")
        for name in _CONVOLUTIONS:
            op = getattr(torch.ops.aten, name.partition("::")[2]).default
            _state["convolutions"].impl(op, lambda *args, op=op: _run(op, *args), "PrivateUse1")
        torch.Tensor.__deepcopy__ = _copying(torch.Tensor.__deepcopy__)
    return NAME


def _name_operations():
    """Makes the Python object of every operation, before threads do.

    PyTorch hands ``_run`` the object that it met first and borrows it. Two threads that meet an operation at once would make
    two, of which the module keeps the second: the first is freed while PyTorch still hands it over.
    """
    import torch

    for full in torch._C._dispatch_get_all_op_names():
        namespace, _, rest = full.partition("::")
        if namespace == "aten":
            name, _, overload = rest.partition(".")
            getattr(getattr(torch.ops.aten, name), overload or "default")


def _copying(plain):
    """``copy.deepcopy`` of tensors, which would make a storage on the device: that takes an allocator."""

    def deepcopy(self, memo):
        if self.device.type != NAME:
            return plain(self, memo)
        return memo.setdefault(id(self), self.detach().clone().requires_grad_(self.requires_grad))

    return deepcopy


def operations():
    """How many operations ran on the device so far."""
    return _state["operations"]


def _alias(tensor, device_type):
    """The memory of a tensor as one of another device, by way of DLPack."""
    import torch

    ndim = tensor.dim()
    array = _arrays.setdefault(ndim, ctypes.c_int64 * ndim)
    shape, strides = array(*tensor.shape), array(*tensor.stride())
    code, bits = _type_of(tensor.dtype)
    # PyTorch gives memory up wherever it is, exceptions pending, so no Python may run then. Opening a spin lock overwrites
    # the first word of what it is given, here the address of the data, and that is seen at the next look.
    described = DLTensor(tensor.data_ptr(), device_type, 0, ndim, code, bits, 1, shape, strides, 0)
    managed = _Managed(described, None, _DELETER)
    _sweep()
    _held[ctypes.addressof(managed)] = (managed, managed.tensor.data, shape, strides, tensor)
    return torch._C._from_dlpack(_capsule(ctypes.addressof(managed), b"dltensor", None))


def _sweep():
    """Forgets what PyTorch has given up; one thread at a time.

    A second one would drop an address that the first had already freed, and that by then may be that of a new alias.
    """
    _state["swept"] += 1
    if _state["swept"] % _SWEEP == 0 and _sweeping.acquire(blocking=False):
        try:
            for address in [address for address, (managed, data, *_) in list(_held.items()) if managed.tensor.data != data]:
                del _held[address]
        finally:
            _sweeping.release()


def _type_of(dtype):
    import torch

    if dtype not in _types:
        kinds = {torch.bool: 6, torch.bfloat16: 4, torch.uint8: 1}
        bits = torch.empty((), dtype=dtype).element_size() * 8
        _types[dtype] = (kinds.get(dtype, 2 if dtype.is_floating_point else 0), bits)
    return _types[dtype]


def _convolution(*args):
    import torch

    return torch.ops.aten.convolution(*args)


def _convolution_backward(gradient, x, weight, *args):
    import torch

    outputs = weight.shape[1] * args[5] if args[3] else weight.shape[0]
    return torch.ops.aten.convolution_backward(gradient, x, weight, [outputs], *args)


_CONVOLUTIONS = {
    "aten::convolution_overrideable": _convolution,
    "aten::convolution_backward_overrideable": _convolution_backward,
}


class _Bytes:
    """A storage, as much like a tensor as ``_alias`` asks."""

    def __init__(self, storage):
        import torch

        self.storage, self.dtype = storage, torch.uint8
        self.shape, self.dim = (storage.nbytes(),), lambda: 1
        self.stride, self.data_ptr = lambda: (1,), storage.data_ptr


def _run(op, *args, **kwargs):
    """What every operation on the device does: run on the processor over the same memory."""
    import torch

    _state["operations"] += 1
    givens, others = [], []

    def to_host(value):
        if isinstance(value, torch.device):
            return torch.device("cpu") if value.type == NAME else value
        if not isinstance(value, torch.Tensor):
            return value
        if value.device.type != NAME:
            others.append(value)
            return value
        empty = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype) if value.numel() == 0 else None
        host = _alias(value, _CPU) if empty is None else empty
        givens.append((value, host))
        return host

    def to_device(value):
        if not isinstance(value, torch.Tensor):
            return value
        for given, host in givens:
            if value is host:
                if value.shape != given.shape:
                    given.data = _alias(value, _DEVICE)
                return given
        return value if any(value is other for other in others) else _alias(value, _DEVICE)

    name = op._schema.name
    host_args, host_kwargs = _mapped(to_host, args), {key: _mapped(to_host, each) for key, each in kwargs.items()}
    if name.startswith("aten::_copy_from"):  # a backend's own part of copy_
        host_args[1].copy_(host_args[0])
        return args[1]
    if name == "aten::set_" and isinstance(args[1], torch.UntypedStorage):  # what saving does
        args[0].data = _alias(_Bytes(args[1]), _DEVICE)
        return args[0]
    wrong = next((each for each in others if each.dim()), None)
    if givens and wrong is not None and name not in _MAY_MIX:
        raise RuntimeError(f"{op}: expected all tensors on one device, found {NAME} and {wrong.device} {tuple(wrong.shape)}")
    if name.endswith("_overrideable"):  # what PyTorch leaves to backends
        result = _CONVOLUTIONS[name](*host_args, **host_kwargs)
    else:
        result = op(*_numbers_as_tensors(op, host_args, [host for _, host in givens]), **host_kwargs)
    to_host_copy = name == "aten::_to_copy" and kwargs.get("device") == torch.device("cpu")
    return result if to_host_copy else _mapped(to_device, result)


def _mapped(function, value):
    """``function`` of each leaf of lists and tuples."""
    return type(value)(_mapped(function, each) for each in value) if type(value) in (list, tuple) else function(value)


def _numbers_as_tensors(op, args, tensors):
    """Numbers come where the operation takes tensors; as tensors they may not change what type the result has."""
    import torch

    def fit(number, argument):
        if isinstance(number, bool) or not isinstance(number, (int, float)) or str(argument.type) != "Tensor":
            return number
        wide = any(each.dtype == torch.float64 for each in tensors)
        return torch.tensor(number, dtype=torch.float64 if wide else None) if isinstance(number, float) else torch.tensor(number)

    return [fit(value, argument) for value, argument in zip(args, op._schema.arguments)]
