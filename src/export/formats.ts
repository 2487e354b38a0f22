import type { Params } from '../bridge/protocol.js';
import type { EditList } from './edit-list.js';
import type { QuantizedNetwork } from './layers.js';
import type { RunFiles } from './run-files.js';

/** What a format has to say about a run. */
export interface ExportSource {
  run: RunFiles;
  network: QuantizedNetwork;
}

/** One file, as its writer leaves it to the service. */
export type Exported =
  /** Text to write. */
  | { kind: 'text'; text: string; warnings: string[] }
  /** A file of the run to copy. */
  | { kind: 'copy'; from: string; warnings: string[] }
  /** Edits of an ONNX file. */
  | {
      kind: 'rewrite';
      model: string;
      edits: EditList;
      /** How the result can be checked; see `rewrite` in src/bridge/protocol.ts. */
      check: Params<'rewrite'>['check'];
      warnings: string[];
    };

/** A few names for a message. */
export function some(names: readonly string[], most = 5): string {
  const shown = names.slice(0, most).join(', ');
  return names.length > most ? `${shown} and ${names.length - most} more` : shown;
}
