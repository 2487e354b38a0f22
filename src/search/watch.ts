import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readScenario } from '../config/scenario.js';
import { UserError } from '../errors.js';
import { isLocked } from '../run/lock.js';
import { eventsIn } from './journal.js';
import { workFolder } from './open.js';
import { type SearchStatus, statusOf } from './status.js';

export interface WatchOptions {
  scenario: string;
  out: string;
  /** Time between two looks. */
  everyMs: number;
  /** Looks once where there is no listener for what comes later. */
  onStatus?: (status: SearchStatus) => void;
  signal: AbortSignal;
}

/**
 * Looks at a search that runs somewhere else, until it is finished or stopped; resolves with how it stands then.
 *
 * Rejects with UserError SCENARIO_INVALID, SEARCH_NOT_BEGUN, SEARCH_JOURNAL.
 */
export async function watch({
  scenario,
  out,
  everyMs,
  onStatus,
  signal,
}: WatchOptions): Promise<SearchStatus> {
  const { generation_num, pop_size } = (await readScenario(scenario)).searcher;
  const work = workFolder(out);
  const journal = join(work, 'search.ndjson');
  for (;;) {
    const alive = isLocked(join(work, 'lock'));
    if (!existsSync(journal) && !alive)
      throw new UserError('SEARCH_NOT_BEGUN', `No search was begun in ${out}.`, {
        place: journal,
        suggestions: ['Begin it: dopt search -c scen.yaml', 'Name its folder: --out FOLDER'],
      });
    const events = existsSync(journal) ? eventsIn(readFileSync(journal, 'utf8'), journal) : [];
    const status = statusOf(events, { generations: generation_num, population: pop_size, alive });
    onStatus?.(status);
    const over = status.state === 'finished' || status.state === 'stopped';
    if (!onStatus || over || signal.aborted) return status;
    await sleep(everyMs, undefined, { signal }).catch(() => {});
  }
}
