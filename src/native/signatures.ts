/**
 * The C interface as koffi sees it: result and arguments of every function of native/include/dopt.h.
 * Arrays and outputs are `void *`, which takes any TypedArray without copying.
 */
export const ABI_VERSION = 3;

/** Members of `dopt_histogram`, in order. */
export const HISTOGRAM_MEMBERS = {
  struct_size: 'size_t',
  bins: 'int64_t',
  base: 'int64_t',
  width: 'double',
  count: 'uint64_t',
  zeros: 'uint64_t',
  nans: 'uint64_t',
  infinities: 'uint64_t',
  min: 'float',
  max: 'float',
  sum: 'double',
  sum_squares: 'double',
} as const;

/** Members of `dopt_conv2d_shape` after struct_size, in order. */
export const CONV_MEMBERS = [
  'batch',
  'in_channels',
  'in_height',
  'in_width',
  'out_channels',
  'kernel_height',
  'kernel_width',
  'groups',
  'stride_height',
  'stride_width',
  'dilation_height',
  'dilation_width',
  'pad_top',
  'pad_left',
  'pad_bottom',
  'pad_right',
] as const;

/** `state*`: histogram read and written; `state`: histogram read; the rest are koffi's own names. */
type Type =
  | 'state*'
  | 'state'
  | 'conv'
  | 'void *'
  | 'str'
  | 'int32_t'
  | 'int64_t'
  | 'size_t'
  | 'float'
  | 'double';

const format: Type[] = ['int32_t', 'int32_t', 'int32_t'];
const elementwise: Type[] = ['void *', 'size_t', 'float', 'int32_t', 'void *'];
const requantize: Type[] = ['void *', 'size_t', 'double', 'int32_t', 'void *'];
const view: Type[] = ['void *', 'size_t', 'size_t', 'size_t'];
// Layers on Gram matrices are reached from Python alone, where the data is: their struct stays an address here.
const sums: Type[] = ['void *', 'void *', 'void *'];
const sweep: Type[] = ['state', 'void *', ...format, 'void *', 'void *', 'void *'];

export const SIGNATURES = {
  dopt_abi_version: ['int32_t', []],
  dopt_build_info: ['str', []],
  dopt_last_error: ['str', []],
  dopt_set_threads: ['int32_t', ['int32_t']],
  dopt_histogram_init: ['int32_t', ['state*', 'int64_t']],
  dopt_histogram_update: ['int32_t', ['state*', 'void *', 'void *', 'size_t']],
  dopt_histogram_update_many: ['int32_t', ['void *', 'void *', 'void *', 'void *', 'size_t']],
  dopt_histogram_merge: ['int32_t', ['state*', 'void *', 'state', 'void *']],
  dopt_range_percentile: ['int32_t', ['state', 'void *', 'double', 'void *', 'void *']],
  dopt_range_error: ['int32_t', ['state', 'void *', 'double', 'double', ...format, 'void *']],
  dopt_range_mse: ['int32_t', sweep],
  dopt_range_entropy: ['int32_t', sweep],
  dopt_quant_params: ['int32_t', ['double', 'double', ...format, 'void *', 'void *']],
  dopt_quantize_u8: ['int32_t', elementwise],
  dopt_quantize_i8: ['int32_t', elementwise],
  dopt_quantize_u16: ['int32_t', elementwise],
  dopt_quantize_i16: ['int32_t', elementwise],
  dopt_dequantize_u8: ['int32_t', elementwise],
  dopt_dequantize_i8: ['int32_t', elementwise],
  dopt_dequantize_u16: ['int32_t', elementwise],
  dopt_dequantize_i16: ['int32_t', elementwise],
  dopt_dequantize_i32: ['int32_t', elementwise],
  dopt_fake_quantize: ['int32_t', ['void *', 'size_t', 'float', 'int32_t', 'int32_t', 'int32_t', 'void *']],
  dopt_requantize_i32_u8: ['int32_t', requantize],
  dopt_requantize_i32_i8: ['int32_t', requantize],
  dopt_channel_absmax: ['int32_t', [...view, 'void *']],
  dopt_quantize_i8_channels: ['int32_t', [...view, 'void *', 'void *']],
  dopt_dequantize_i8_channels: ['int32_t', [...view, 'void *', 'void *']],
  dopt_fake_quantize_channels: ['int32_t', [...view, 'void *', 'void *', 'int32_t', 'int32_t', 'void *']],
  dopt_error_sums: ['int32_t', ['void *', 'void *', 'size_t', 'void *', 'void *', 'void *', 'void *']],
  dopt_conv2d_u8s8_s32: ['int32_t', ['conv', 'void *', 'int32_t', 'void *', 'void *', 'void *']],
  dopt_matmul_u8s8_s32: [
    'int32_t',
    ['void *', 'int32_t', 'void *', 'void *', 'size_t', 'size_t', 'size_t', 'void *'],
  ],
  dopt_gram_conv2d: [
    'int32_t',
    ['conv', 'int32_t', 'int64_t', 'int64_t', 'void *', 'void *', 'int64_t', 'int64_t', ...sums],
  ],
  dopt_gram_matmul: ['int32_t', ['void *', 'void *', 'int64_t', 'int64_t', 'int64_t', ...sums]],
  dopt_gram_reconstruct: ['int32_t', [...sums, 'void *', 'void *', 'double', 'double', 'void *']],
  dopt_gram_bias: ['int32_t', [...sums, 'void *', 'void *', 'void *']],
  dopt_gram_error: ['int32_t', [...sums, 'void *', 'void *', 'void *', 'void *', 'void *']],
  dopt_group_scales: ['int32_t', ['void *', 'void *', 'void *', 'int32_t', 'double', 'void *']],
  dopt_group_nearest: ['int32_t', ['void *', 'void *', 'void *', 'void *']],
  dopt_gram_round: [
    'int32_t',
    ['void *', 'void *', 'void *', 'void *', 'void *', 'void *', 'int64_t', 'void *'],
  ],
  dopt_gram_refine: ['int32_t', ['void *', 'void *', 'void *', 'int32_t', 'int32_t', 'void *', 'void *']],
  dopt_pack_int4: ['int32_t', ['void *', 'size_t', 'void *']],
  dopt_unpack_int4: ['int32_t', ['void *', 'size_t', 'void *']],
} as const satisfies Record<string, readonly [Type, readonly Type[]]>;

export type FunctionName = keyof typeof SIGNATURES;
