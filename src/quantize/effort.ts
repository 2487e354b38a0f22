/**
 * How much work goes into accuracy: `fast` stops at the ranges, `balanced` refines layer by layer, `best` compares ways of
 * refining on samples that were kept back.
 */
export const EFFORTS = ['fast', 'balanced', 'best'] as const;
export type Effort = (typeof EFFORTS)[number];
