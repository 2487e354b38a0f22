/** One comparison of searches on a table of trained networks. */
export interface NasSection {
  /** As --only takes it. */
  name: string;
  title: string;
  /** Markdown. Throws Skipped where data are missing. */
  measure(options: { assets: string; seeds: number }): string;
}
