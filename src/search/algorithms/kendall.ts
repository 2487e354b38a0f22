/**
 * Kendall's rank correlation, pairs that are equal in one of the lists taken into account (tau-b: Kendall, "The treatment of
 * ties in ranking problems", Biometrika 1945): 1 for the same order, -1 for the opposite one, NaN where a list is constant.
 */
export function kendall(a: readonly number[], b: readonly number[]): number {
  let [sum, pairsA, pairsB] = [0, 0, 0];
  for (let i = 0; i < a.length; i++)
    for (let j = 0; j < i; j++) {
      const [first, second] = [Math.sign(a[i]! - a[j]!), Math.sign(b[i]! - b[j]!)];
      sum += first * second;
      pairsA += first * first;
      pairsB += second * second;
    }
  return sum / Math.sqrt(pairsA * pairsB);
}
