import type { Exported, ExportSource } from './formats.js';

/** quant_params.json as the schema knows it, indented. */
export function json({ run }: ExportSource): Exported {
  return { kind: 'text', text: `${JSON.stringify(run.params, null, 2)}\n`, warnings: [] };
}
