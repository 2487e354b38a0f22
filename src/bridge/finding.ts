/** What the doctor says about one thing. */
export interface Finding {
  name: string;
  /** `warning`: dopt works without it, in a poorer way. `missing`: it does not. */
  status: 'ok' | 'warning' | 'missing';
  /** What was found, or why it was not. */
  found: string;
  /** Path, where there is one. */
  where: string | null;
  /** What to do; empty when all is well. */
  remedies: string[];
}
