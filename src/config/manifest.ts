import { z } from 'zod';
import { fileDigestSchema } from './result.js';

/** manifest.json: what was run, with what, when. Times live here and nowhere else, so results repeat byte for byte. */
export const manifestSchema = z.strictObject({
  version: z.literal(1),
  dopt: z.string(),
  state: z.enum(['running', 'interrupted', 'finished']),
  /** Command line, program name first. */
  command: z.array(z.string()),
  /** Folder that it was given in: relative paths in it begin there. Absent in runs of older versions. */
  cwd: z.string().optional(),
  /** ISO 8601, UTC. */
  started: z.string(),
  finished: z.string().nullable(),
  /** Settings, seed, versions and input digests of a finished run. */
  details: z.record(z.string(), z.unknown()),
  /** Results by name, with size and sha256. */
  files: z.record(z.string(), fileDigestSchema),
});
export type Manifest = z.infer<typeof manifestSchema>;
