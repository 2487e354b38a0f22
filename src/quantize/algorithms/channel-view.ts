import type { ChannelView } from '../../native/types.js';

/**
 * A row-major tensor seen as [outer, channels, inner] around one axis, the shape every per-channel routine works on.
 * A negative axis counts from the end; null gives one channel over everything.
 */
export function channelView(shape: readonly number[], axis: number | null): ChannelView {
  const size = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);
  if (axis === null) return { outer: 1, channels: 1, inner: size(shape) };
  const at = axis < 0 ? axis + shape.length : axis;
  return { outer: size(shape.slice(0, at)), channels: shape[at]!, inner: size(shape.slice(at + 1)) };
}
