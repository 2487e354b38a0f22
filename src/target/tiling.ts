import type { Rates } from './device.js';
import type { Product } from './kernel.js';
import { PRECISIONS } from './precision.js';

/** How a product is cut so that its pieces fit the buffers of a core. */
export interface Tiling {
  /** Rows, columns and inner length of a piece in the innermost buffers. */
  rows: number;
  columns: number;
  inner: number;
  /** How often the weights and the activations come in from outside. */
  weightReads: number;
  activationReads: number;
  /** Bytes that go on to the innermost buffers, of activations and of weights. */
  l0aBytes: number;
  l0bBytes: number;
}

/** Bytes of an accumulator. */
const ACCUMULATOR = 4;

/**
 * The tiling that moves the fewest bytes.
 *
 * Pieces of the innermost buffers are whole steps of the matrix unit; each of the three holds two of them, so that one
 * is filled while the other is worked on. Every piece of activations meets every column of pieces of weights, so
 * activations go to the innermost buffer once for each column of pieces, weights once for each row of pieces. The buffer
 * before them holds either a band of rows or a band of columns of the whole inner length; then the other operand comes in
 * from outside once for each band, and once altogether where one operand fits as a whole (Parashar et al., "Timeloop",
 * ISPASS 2019, section V: reuse of a loop order; here for two levels and the two orders that reuse an operand).
 */
export function tile({ m, k, n, taps, groups }: Product, rates: Rates): Tiling {
  const { l1, l0a, l0b, l0c } = rates.buffers!;
  const [stepRows, stepInner, stepColumns] = rates.tile;
  const { activations, weights } = PRECISIONS[rates.precision];
  const elementA = activations / 8;
  const elementB = weights / 8;
  const up = (value: number, step: number): number => Math.ceil(value / step) * step;
  const [wholeM, wholeN, depth] = [up(m, stepRows), up(n, stepColumns), taps * up(k, stepInner)];
  const weightsBytes = depth * wholeN * elementB;
  const activationBytes = wholeM * (depth / taps) * elementA;
  const columnSizes = sizes(stepColumns, wholeN);
  // How often a column of pieces makes the activations come in, the same whatever the rows are.
  const columnBands = columnSizes.map((columns) => bands(l1, depth * elementB, columns, wholeN));
  let best: Tiling | null = null;
  let fewest = Number.POSITIVE_INFINITY;
  for (const rows of sizes(stepRows, wholeM)) {
    // A band of rows holds pixels, not their windows: each pixel lies there once.
    const rowBands = bands(l1, (depth / taps) * elementA, rows, wholeM);
    const keepsRows = activationBytes + weightsBytes * rowBands;
    const l0bBytes = groups * weightsBytes * Math.ceil(wholeM / rows);
    for (let index = 0; index < columnSizes.length; index++) {
      const columns = columnSizes[index]!;
      if (2 * rows * columns * ACCUMULATOR > l0c) break;
      const room = Math.min(l0a / (2 * rows * elementA), l0b / (2 * columns * elementB));
      if (room < stepInner) break;
      const l0aBytes = groups * wholeM * depth * elementA * Math.ceil(wholeN / columns);
      const keepsColumns = weightsBytes + activationBytes * columnBands[index]!;
      const moved = Math.min(keepsRows, keepsColumns) * groups + (l0aBytes + l0bBytes) / 16;
      if (moved >= fewest) continue;
      fewest = moved;
      const byRows = keepsRows <= keepsColumns;
      best = {
        rows,
        columns,
        inner: Math.min(depth, Math.floor(room / stepInner) * stepInner),
        weightReads: byRows ? rowBands : 1,
        activationReads: byRows ? 1 : columnBands[index]!,
        l0aBytes,
        l0bBytes,
      };
    }
  }
  return (
    best ?? {
      rows: stepRows,
      columns: stepColumns,
      inner: stepInner,
      weightReads: Math.ceil(wholeM / stepRows),
      activationReads: 1,
      l0aBytes: groups * wholeM * depth * elementA * Math.ceil(wholeN / stepColumns),
      l0bBytes: groups * weightsBytes * Math.ceil(wholeM / stepRows),
    }
  );
}

/**
 * Bands that one side of a product comes in: as many rows, or columns, of the whole inner length as half of the buffer
 * holds, one piece at least.
 */
function bands(buffer: number, bytes: number, piece: number, whole: number): number {
  const most = Math.floor(buffer / 2 / Math.max(1, bytes));
  return most >= whole ? 1 : Math.ceil(whole / Math.max(piece, most));
}

/** Multiples of a step up to the whole, by powers of two and halves between them: about twenty a side. */
function sizes(step: number, whole: number): number[] {
  const found: number[] = [];
  for (let size = step; size < whole; size *= 2) {
    found.push(size);
    const between = size + Math.floor(size / step / 2) * step;
    if (between > size && between < whole) found.push(between);
  }
  found.push(whole);
  return found;
}
