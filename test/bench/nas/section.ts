import type { TorchProfile } from '../../../src/bridge/profiles.js';

/** Where things lie, and how much is measured. */
export interface NasPlaces {
  /** The package. */
  root: string;
  /** The test assets. */
  assets: string;
  /** Files that sections make. */
  work: string;
  seeds: number;
  /** Processes that train. */
  workers: number;
  /** Whose PyTorch they train by. */
  profile: TorchProfile;
}

/** One comparison of searches, on a table of trained networks or by training. */
export interface NasSection {
  /** As --only takes it. */
  name: string;
  title: string;
  /** Whether networks are trained, which takes long: measured only when --only names it. */
  trains?: boolean;
  /** Markdown. Throws or rejects with Skipped where data are missing. */
  measure(places: NasPlaces): string | Promise<string>;
}
