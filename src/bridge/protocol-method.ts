import type { z } from 'zod';

/** One method of the protocol: what goes in, what comes back. */
export interface Method<P extends z.ZodType, R extends z.ZodType> {
  params: P;
  result: R;
}

export const method = <P extends z.ZodType, R extends z.ZodType>(params: P, result: R): Method<P, R> => ({
  params,
  result,
});
