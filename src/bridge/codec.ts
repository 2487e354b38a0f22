import { z } from 'zod';
import { Bug } from '../errors.js';
import { envelopeSchema, METHODS, type MethodName, type Params, type Result } from './protocol.js';
import { fromEnvelope } from './python-errors.js';

/** JSON text of a method's parameters; throws Bug when they do not fit the protocol. */
export function encodeParams<M extends MethodName>(method: M, params: Params<M>): string {
  const parsed = METHODS[method].params.safeParse(params);
  if (parsed.success) return JSON.stringify(parsed.data);
  throw new Bug(`Parameters of the Python method ${method} do not fit the protocol.`, {
    found: z.prettifyError(parsed.error),
  });
}

/** The result in an envelope's JSON text; throws the error it carries, or Bug when it does not fit the protocol. */
export function decodeResult<M extends MethodName>(method: M, text: string, output = ''): Result<M> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new Bug(`Python's answer to ${method} is not JSON.`, { found: text.slice(0, 200), cause });
  }
  return openEnvelope(method, json, output);
}

/** As `decodeResult`, for an envelope that is already an object. */
export function openEnvelope<M extends MethodName>(method: M, json: unknown, output = ''): Result<M> {
  const envelope = envelopeSchema.safeParse(json);
  if (!envelope.success) {
    throw new Bug(`Python's answer to ${method} is no envelope.`, { found: z.prettifyError(envelope.error) });
  }
  if (!envelope.data.ok) throw fromEnvelope(method, envelope.data.error, output);
  const result = METHODS[method].result.safeParse(envelope.data.value);
  if (result.success) return result.data as Result<M>;
  throw new Bug(`Python's result of ${method} does not fit the protocol.`, {
    found: z.prettifyError(result.error),
  });
}
