"""The C interface of the CUDA core as ctypes sees it: every function of native/cuda/include/dopt_cuda.h."""

from __future__ import annotations

import ctypes
from typing import Any

from .native_abi import Conv2dShape, LayerShape

CUDA_ABI_VERSION = 1

# Element types of arguments that take several.
TYPES = {"float32": 0, "float16": 1, "bfloat16": 2}

_STATUS = ctypes.c_int32
_ARRAY = ctypes.c_void_p  # device addresses, and arrays of them on the host
_STREAM = ctypes.c_void_p
_TEXT = ctypes.c_char_p
_SIZE = ctypes.c_size_t
_I32 = ctypes.c_int32
_I64 = ctypes.c_int64
_F32 = ctypes.c_float
_F64 = ctypes.c_double
_LAYER = ctypes.POINTER(LayerShape)
_CONV = ctypes.POINTER(Conv2dShape)

_ELEMENTWISE = [_ARRAY, _SIZE, _F32, _I32, _ARRAY, _STREAM]
_REQUANTIZE = [_ARRAY, _SIZE, _F64, _I32, _ARRAY, _STREAM]
_VIEW = [_ARRAY, _SIZE, _SIZE, _SIZE]
_SUMS = [_ARRAY, _ARRAY, _ARRAY, _STREAM]

# name -> (result, arguments)
CUDA_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "dopt_cuda_abi_version": (_I32, []),
    "dopt_cuda_build_info": (_TEXT, []),
    "dopt_cuda_last_error": (_TEXT, []),
    "dopt_cuda_device_count": (_STATUS, [ctypes.POINTER(_I32)]),
    "dopt_cuda_device_info": (_STATUS, [_I32, _TEXT, _SIZE]),
    "dopt_cuda_synchronize": (_STATUS, [_STREAM]),
    "dopt_cuda_min_max": (_STATUS, [_ARRAY, _I32, _SIZE, _ARRAY, _STREAM]),
    "dopt_cuda_histogram_init": (_STATUS, [_ARRAY, _ARRAY, _I64, _STREAM]),
    "dopt_cuda_histogram_update": (_STATUS, [_ARRAY, _ARRAY, _I64, _ARRAY, _I32, _SIZE, _STREAM]),
    "dopt_cuda_histogram_update_many": (
        _STATUS,
        [_ARRAY, _ARRAY, _I64, _ARRAY, _I32, _ARRAY, _SIZE, _STREAM],
    ),
    "dopt_cuda_range_mse": (_STATUS, [_ARRAY, _ARRAY, _I64, _SIZE, _I32, _I32, _I32, *_SUMS]),
    "dopt_cuda_quantize_u8": (_STATUS, _ELEMENTWISE),
    "dopt_cuda_quantize_i8": (_STATUS, _ELEMENTWISE),
    "dopt_cuda_quantize_u16": (_STATUS, _ELEMENTWISE),
    "dopt_cuda_quantize_i16": (_STATUS, _ELEMENTWISE),
    "dopt_cuda_dequantize_u8": (_STATUS, _ELEMENTWISE),
    "dopt_cuda_dequantize_i8": (_STATUS, _ELEMENTWISE),
    "dopt_cuda_dequantize_u16": (_STATUS, _ELEMENTWISE),
    "dopt_cuda_dequantize_i16": (_STATUS, _ELEMENTWISE),
    "dopt_cuda_dequantize_i32": (_STATUS, _ELEMENTWISE),
    "dopt_cuda_fake_quantize": (_STATUS, [_ARRAY, _SIZE, _F32, _I32, _I32, _I32, _ARRAY, _STREAM]),
    "dopt_cuda_requantize_i32_u8": (_STATUS, _REQUANTIZE),
    "dopt_cuda_requantize_i32_i8": (_STATUS, _REQUANTIZE),
    "dopt_cuda_channel_absmax": (_STATUS, [*_VIEW, _ARRAY, _STREAM]),
    "dopt_cuda_quantize_i8_channels": (_STATUS, [*_VIEW, _ARRAY, _ARRAY, _STREAM]),
    "dopt_cuda_dequantize_i8_channels": (_STATUS, [*_VIEW, _ARRAY, _ARRAY, _STREAM]),
    "dopt_cuda_fake_quantize_channels": (_STATUS, [*_VIEW, _ARRAY, _ARRAY, _I32, _I32, _ARRAY, _STREAM]),
    "dopt_cuda_error_sums": (_STATUS, [_ARRAY, _ARRAY, _SIZE, _ARRAY, _STREAM]),
    "dopt_cuda_conv2d_u8s8_s32": (_STATUS, [_CONV, _ARRAY, _I32, _ARRAY, _ARRAY, _ARRAY, _STREAM]),
    "dopt_cuda_matmul_u8s8_s32": (
        _STATUS,
        [_ARRAY, _I32, _ARRAY, _ARRAY, _SIZE, _SIZE, _SIZE, _ARRAY, _STREAM],
    ),
    "dopt_cuda_gram_conv2d": (
        _STATUS,
        [_CONV, _I32, _I64, _I64, _ARRAY, _ARRAY, _I32, _I64, _I64, *_SUMS],
    ),
    "dopt_cuda_gram_matmul": (_STATUS, [_ARRAY, _ARRAY, _I32, _I64, _I64, _I64, *_SUMS]),
    "dopt_cuda_gram_reconstruct": (_STATUS, [_LAYER, *[_ARRAY] * 4, _F64, _F64, _ARRAY, _STREAM]),
    "dopt_cuda_gram_bias": (_STATUS, [_LAYER, *[_ARRAY] * 5, _STREAM]),
    "dopt_cuda_gram_error": (_STATUS, [_LAYER, *[_ARRAY] * 7, _STREAM]),
    "dopt_cuda_pack_int4": (_STATUS, [_ARRAY, _SIZE, _ARRAY, _ARRAY, _STREAM]),
    "dopt_cuda_unpack_int4": (_STATUS, [_ARRAY, _SIZE, _ARRAY, _STREAM]),
}
