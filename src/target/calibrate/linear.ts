/**
 * Solves A x = b for a symmetric positive definite matrix of a few rows, by Cholesky's factors (Golub, Van Loan, "Matrix
 * Computations", algorithm 4.2.1). A pivot that rounding made no longer positive leaves its unknown at zero.
 */
export function solveSymmetric(matrix: readonly (readonly number[])[], right: readonly number[]): number[] {
  const size = right.length;
  const lower = matrix.map((row) => [...row]);
  for (let column = 0; column < size; column++) {
    let pivot = lower[column]![column]!;
    for (let k = 0; k < column; k++) pivot -= lower[column]![k]! ** 2;
    const root = pivot > 0 ? Math.sqrt(pivot) : Number.POSITIVE_INFINITY;
    lower[column]![column] = root;
    for (let row = column + 1; row < size; row++) {
      let value = lower[row]![column]!;
      for (let k = 0; k < column; k++) value -= lower[row]![k]! * lower[column]![k]!;
      lower[row]![column] = value / root;
    }
  }
  const x = [...right];
  for (let row = 0; row < size; row++) {
    for (let k = 0; k < row; k++) x[row]! -= lower[row]![k]! * x[k]!;
    x[row]! /= lower[row]![row]!;
  }
  for (let row = size - 1; row >= 0; row--) {
    for (let k = row + 1; k < size; k++) x[row]! -= lower[k]![row]! * x[k]!;
    x[row]! /= lower[row]![row]!;
  }
  return x;
}
