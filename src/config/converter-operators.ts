import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

/** targets/converter-operators.json: what the device converter documents about the ONNX models that it takes. */
export const converterOperatorsSchema = z.strictObject({
  version: z.literal(1),
  source: z.string().describe('where the list comes from, and how far it can be trusted'),
  opset: z.strictObject({ min: z.number().int(), max: z.number().int() }),
  maxBytes: z.number().int().positive().describe('largest model file'),
  operators: z
    .record(z.string(), z.enum(['listed', 'uncertain', 'absent']))
    .describe('by operator type; one that is not named here is unknown'),
});

export type ConverterLimits = z.infer<typeof converterOperatorsSchema>;

/** The limits that come with dopt, from src/ and from dist/ alike. */
export function converterLimits(): ConverterLimits {
  const path = fileURLToPath(new URL('../../targets/converter-operators.json', import.meta.url));
  return converterOperatorsSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
}
