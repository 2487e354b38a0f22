"""The C interface as ctypes sees it: structures and signatures of every function of native/include/dopt.h."""

from __future__ import annotations

import ctypes
from typing import Any

ABI_VERSION = 3


class HistogramState(ctypes.Structure):
    """``dopt_histogram``."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("bins", ctypes.c_int64),
        ("base", ctypes.c_int64),
        ("width", ctypes.c_double),
        ("count", ctypes.c_uint64),
        ("zeros", ctypes.c_uint64),
        ("nans", ctypes.c_uint64),
        ("infinities", ctypes.c_uint64),
        ("min", ctypes.c_float),
        ("max", ctypes.c_float),
        ("sum", ctypes.c_double),
        ("sum_squares", ctypes.c_double),
    ]


class Conv2dShape(ctypes.Structure):
    """``dopt_conv2d_shape``."""

    _fields_ = [("struct_size", ctypes.c_size_t)] + [
        (name, ctypes.c_int64)
        for name in (
            "batch in_channels in_height in_width out_channels kernel_height kernel_width groups stride_height "
            "stride_width dilation_height dilation_width pad_top pad_left pad_bottom pad_right"
        ).split()
    ]


class LayerShape(ctypes.Structure):
    """``dopt_layer``."""

    _fields_ = (
        [("struct_size", ctypes.c_size_t)]
        + [(name, ctypes.c_int64) for name in "groups outputs inputs span".split()]
        + [(name, ctypes.c_int32) for name in "qmin qmax free_bias".split()]
    )


_STATUS = ctypes.c_int32
_STATE = ctypes.POINTER(HistogramState)
_ARRAY = ctypes.c_void_p  # arrays are plain addresses
_SIZE = ctypes.c_size_t
_I32 = ctypes.c_int32
_F32 = ctypes.c_float
_F64 = ctypes.c_double
_TO_F64 = ctypes.POINTER(ctypes.c_double)

_FORMAT = [_I32, _I32, _I32]
_ELEMENTWISE = [_ARRAY, _SIZE, _F32, _I32, _ARRAY]
_REQUANTIZE = [_ARRAY, _SIZE, _F64, _I32, _ARRAY]
_VIEW = [_ARRAY, _SIZE, _SIZE, _SIZE]
_I64 = ctypes.c_int64
_SUMS = [_ARRAY, _ARRAY, _ARRAY]
_LAYER = ctypes.POINTER(LayerShape)
_SWEEP = [_STATE, _ARRAY, *_FORMAT, _TO_F64, _TO_F64, _TO_F64]

# name -> (result, arguments)
SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "dopt_abi_version": (ctypes.c_int32, []),
    "dopt_build_info": (ctypes.c_char_p, []),
    "dopt_last_error": (ctypes.c_char_p, []),
    "dopt_set_threads": (_STATUS, [_I32]),
    "dopt_histogram_init": (_STATUS, [_STATE, ctypes.c_int64]),
    "dopt_histogram_update": (_STATUS, [_STATE, _ARRAY, _ARRAY, _SIZE]),
    "dopt_histogram_update_many": (_STATUS, [_STATE, _ARRAY, _ARRAY, _ARRAY, _SIZE]),
    "dopt_histogram_merge": (_STATUS, [_STATE, _ARRAY, _STATE, _ARRAY]),
    "dopt_range_percentile": (_STATUS, [_STATE, _ARRAY, _F64, _TO_F64, _TO_F64]),
    "dopt_range_error": (_STATUS, [_STATE, _ARRAY, _F64, _F64, *_FORMAT, _TO_F64]),
    "dopt_range_mse": (_STATUS, _SWEEP),
    "dopt_range_entropy": (_STATUS, _SWEEP),
    "dopt_quant_params": (_STATUS, [_F64, _F64, *_FORMAT, ctypes.POINTER(_F32), ctypes.POINTER(_I32)]),
    "dopt_quantize_u8": (_STATUS, _ELEMENTWISE),
    "dopt_quantize_i8": (_STATUS, _ELEMENTWISE),
    "dopt_quantize_u16": (_STATUS, _ELEMENTWISE),
    "dopt_quantize_i16": (_STATUS, _ELEMENTWISE),
    "dopt_dequantize_u8": (_STATUS, _ELEMENTWISE),
    "dopt_dequantize_i8": (_STATUS, _ELEMENTWISE),
    "dopt_dequantize_u16": (_STATUS, _ELEMENTWISE),
    "dopt_dequantize_i16": (_STATUS, _ELEMENTWISE),
    "dopt_dequantize_i32": (_STATUS, _ELEMENTWISE),
    "dopt_fake_quantize": (_STATUS, [_ARRAY, _SIZE, _F32, _I32, _I32, _I32, _ARRAY]),
    "dopt_requantize_i32_u8": (_STATUS, _REQUANTIZE),
    "dopt_requantize_i32_i8": (_STATUS, _REQUANTIZE),
    "dopt_channel_absmax": (_STATUS, [*_VIEW, _ARRAY]),
    "dopt_quantize_i8_channels": (_STATUS, [*_VIEW, _ARRAY, _ARRAY]),
    "dopt_dequantize_i8_channels": (_STATUS, [*_VIEW, _ARRAY, _ARRAY]),
    "dopt_fake_quantize_channels": (_STATUS, [*_VIEW, _ARRAY, _ARRAY, _I32, _I32, _ARRAY]),
    "dopt_error_sums": (_STATUS, [_ARRAY, _ARRAY, _SIZE, _TO_F64, _TO_F64, _TO_F64, _TO_F64]),
    "dopt_conv2d_u8s8_s32": (
        _STATUS,
        [ctypes.POINTER(Conv2dShape), _ARRAY, _I32, _ARRAY, _ARRAY, _ARRAY],
    ),
    "dopt_matmul_u8s8_s32": (_STATUS, [_ARRAY, _I32, _ARRAY, _ARRAY, _SIZE, _SIZE, _SIZE, _ARRAY]),
    "dopt_gram_conv2d": (
        _STATUS,
        [ctypes.POINTER(Conv2dShape), _I32, _I64, _I64, _ARRAY, _ARRAY, _I64, _I64, *_SUMS],
    ),
    "dopt_gram_matmul": (_STATUS, [_ARRAY, _ARRAY, _I64, _I64, _I64, *_SUMS]),
    "dopt_gram_reconstruct": (_STATUS, [_LAYER, *[_ARRAY] * 4, _F64, _F64, _ARRAY]),
    "dopt_gram_bias": (_STATUS, [_LAYER, *[_ARRAY] * 5]),
    "dopt_gram_error": (_STATUS, [_LAYER, *[_ARRAY] * 7]),
    "dopt_group_scales": (_STATUS, [_LAYER, _ARRAY, _ARRAY, _I32, _F64, _ARRAY]),
    "dopt_group_nearest": (_STATUS, [_LAYER, _ARRAY, _ARRAY, _ARRAY]),
    "dopt_gram_round": (_STATUS, [_LAYER, *[_ARRAY] * 5, _I64, _ARRAY]),
    "dopt_gram_refine": (_STATUS, [_LAYER, _ARRAY, _ARRAY, _I32, _I32, _ARRAY, _ARRAY]),
    "dopt_pack_int4": (_STATUS, [_ARRAY, _SIZE, _ARRAY]),
    "dopt_unpack_int4": (_STATUS, [_ARRAY, _SIZE, _ARRAY]),
}
