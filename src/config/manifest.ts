import { z } from 'zod';
import { fileDigestSchema } from './result.js';

/** manifest.json: what was run, with what, when. Times live here and nowhere else, so results repeat byte for byte. */
export const manifestSchema = z.strictObject({
  version: z.literal(1),
  dopt: z.string(),
  state: z.enum(['running', 'interrupted', 'finished']),
  refused: z
    .string()
    .optional()
    .describe(
      'code of the error in what the user gave that ended it before it had done more than read the model: it is gone on with unasked',
    ),
  command: z.array(z.string()).describe('command line, program name first'),
  cwd: z
    .string()
    .optional()
    .describe(
      'folder that it was given in: relative paths in it begin there; absent in runs of older versions',
    ),
  started: z.string().describe('ISO 8601, UTC'),
  finished: z.string().nullable(),
  details: z
    .record(z.string(), z.unknown())
    .describe('settings, seed, versions and input digests of a finished run'),
  files: z.record(z.string(), fileDigestSchema).describe('results by name, with size and sha256'),
});
export type Manifest = z.infer<typeof manifestSchema>;
