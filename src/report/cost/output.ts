import { existsSync } from 'node:fs';
import type { CostResult } from '../../config/cost.js';
import { EXIT, UserError } from '../../errors.js';
import { writeFileAtomic } from '../../run/atomic.js';

/** Files that a cost is written to; null where one is not wanted. */
export interface CostFiles {
  html: string | null;
  csv: string | null;
}

/**
 * Refuses files that are there already, before anything is computed.
 * @throws UserError COST_EXISTS
 */
export function refuseExisting({ html, csv }: CostFiles): void {
  const taken = [html, csv].find((path) => path !== null && existsSync(path));
  if (!taken) return;
  throw new UserError('COST_EXISTS', `${taken} exists already and is not overwritten.`, {
    exitCode: EXIT.usage,
    place: taken,
    suggestions: ['Name another file, or remove this one.'],
  });
}

/** Writes the report and the table of kernels. */
export async function writeCost(result: CostResult, { html, csv }: CostFiles): Promise<void> {
  if (html !== null) {
    const { renderCost } = await import('./page.js');
    await writeFileAtomic(html, renderCost(result));
  }
  if (csv !== null) {
    const { costCsv } = await import('./csv.js');
    await writeFileAtomic(csv, costCsv(result));
  }
}
