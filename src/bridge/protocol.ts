import { z } from 'zod';
import { DOOR_METHODS } from './protocol-doors.js';
import { EXECUTE_METHODS } from './protocol-execute.js';
import { GRAPH_METHODS } from './protocol-graph.js';
import { LLM_METHODS } from './protocol-llm.js';
import { method } from './protocol-method.js';
import { NAS_METHODS } from './protocol-nas.js';
import { PROJECT_METHODS } from './protocol-project.js';

/**
 * The whole contract between TypeScript and Python: this file and the parts of it beside it (protocol-*.ts).
 *
 * Short calls go through `dopt.worker.invoke(method, params_json) -> envelope_json` (pythonia); long work runs as
 * `python -m dopt.job job.json` (execa), where job.json is `{method, params}` and the answer arrives as the last
 * event on fd 3. Only JSON text and file paths cross; tensors are files. Paths are absolute.
 * Methods are registered once, in python/dopt/methods.py, and can be reached either way.
 */

// ── Envelope ────────────────────────────────────────────────────────────────────────────────────────────────────────

export const pythonErrorSchema = z.strictObject({
  /** Python exception class. */
  type: z.string(),
  /** Stable code, e.g. DATA_EMPTY_FOLDER; 'PYTHON_EXCEPTION' when the code raised something of its own. */
  code: z.string(),
  /** Decides the exit code: user → 3, environment → 4, external → 5, bug → 1. */
  kind: z.enum(['user', 'environment', 'external', 'bug']),
  message: z.string(),
  place: z.string().nullable(),
  suggestions: z.array(z.string()),
  /** What there was, when the message alone does not say it. */
  found: z.string().optional(),
  traceback: z.string(),
});
export type PythonError = z.infer<typeof pythonErrorSchema>;

export const envelopeSchema = z.discriminatedUnion('ok', [
  z.strictObject({ ok: z.literal(true), value: z.unknown() }),
  z.strictObject({ ok: z.literal(false), error: pythonErrorSchema }),
]);

// ── Events of a job, one JSON object a line on fd 3 ─────────────────────────────────────────────────────────────────

export const jobEventSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('heartbeat'), time: z.number() }),
  z.strictObject({
    type: z.literal('progress'),
    done: z.number(),
    total: z.number().nullable(),
    message: z.string(),
  }),
  z.strictObject({ type: z.literal('log'), level: z.enum(['info', 'warning']), message: z.string() }),
  /** Largest resident set of the process, sent before the answer. */
  z.strictObject({ type: z.literal('usage'), peakBytes: z.number() }),
  z.strictObject({ type: z.literal('answer'), envelope: envelopeSchema }),
]);
export type JobEvent = z.infer<typeof jobEventSchema>;

// ── Methods ─────────────────────────────────────────────────────────────────────────────────────────────────────────

export const METHODS = {
  ...DOOR_METHODS,
  ...GRAPH_METHODS,
  ...EXECUTE_METHODS,
  ...PROJECT_METHODS,
  ...LLM_METHODS,
  ...NAS_METHODS,

  /** GPUs as frameworks of this interpreter see them, and the CUDA core (python/dopt/gpu.py). */
  gpus: method(
    z.strictObject({ frameworks: z.array(z.enum(['torch', 'onnxruntime', 'tensorflow', 'core'])).min(1) }),
    z.strictObject({
      /** An answer for each that was asked for. */
      frameworks: z.record(
        z.string(),
        z.strictObject({
          version: z.string().nullable(),
          /** By index; `reason`: why this one cannot be used. */
          devices: z.array(
            z.strictObject({
              name: z.string(),
              memory: z.number().nullable(),
              reason: z.string().nullable(),
            }),
          ),
          /** Why there are none; null where there are. */
          reason: z.string().nullable(),
        }),
      ),
    }),
  ),

  /** Versions of the interpreter and of every package in the environment. */
  probe: method(
    /** Modules to import, to be sure that they work. */
    z.strictObject({ modules: z.array(z.string()).default([]) }),
    z.strictObject({
      python: z.string(),
      executable: z.string(),
      platform: z.string(),
      packages: z.record(z.string(), z.string()),
      native: z.strictObject({ loaded: z.boolean(), detail: z.string() }),
      /** Modules that were asked for and cannot be imported, with the reason. */
      broken: z.record(z.string(), z.string()),
    }),
  ),
} as const;

export type MethodName = keyof typeof METHODS;
export type Params<M extends MethodName> = z.input<(typeof METHODS)[M]['params']>;
export type Result<M extends MethodName> = z.output<(typeof METHODS)[M]['result']>;
