import { type SearchEvent, searchEventSchema } from '../config/search-event.js';
import { UserError } from '../errors.js';
import { appendLine, readLines } from '../run/lines.js';
import type { Tune } from './evaluation.js';

/** What a journal is opened for. */
export interface SearchSettings {
  /** Digest of all that decides the search. */
  digest: string;
  /** Digest of what genomes stand for. */
  space: string;
  /** How networks go on from shared weights before their loss is taken, where they do. */
  tune?: Tune;
}

/**
 * The journal of a search: one event a line, each on the disk before anything follows from it. It is the only state: a
 * search that was killed reads it and goes on as if it had not been.
 */
export class SearchJournal {
  /** Networks that were proposed under settings before the present ones. */
  readonly carried: number;
  /** Whether it was begun anew in the place of one of another search in which nothing was tried. */
  readonly replaced: boolean;
  /** Whether all networks with a score have a loss too, taken alike; none need have been tried. */
  readonly haveLosses: boolean;
  private events: SearchEvent[];

  /**
   * Opens a journal or begins one.
   * @param extend goes on under another digest of the same space, with all scores kept
   * @throws UserError SEARCH_CHANGED for a journal of another search, SEARCH_JOURNAL for a file that is none
   */
  constructor(
    private readonly path: string,
    { digest, space, tune }: SearchSettings,
    extend: boolean,
  ) {
    this.events = readLines(path).map((line, index) => parse(line, path, index + 1));
    const opened = this.events.findLast((event) => event.event === 'opened');
    const same = opened?.digest === digest && opened.space === space;
    const untried = !this.events.some(({ event }) => event === 'proposed');
    this.replaced = opened !== undefined && !same && untried;
    if (opened && !same && !untried && (!extend || opened.space !== space))
      throw changed(path, opened.space === space);
    const time = new Date().toISOString();
    const event = { event: 'opened', version: 1, digest, space, ...(tune && { tune }), time } as const;
    if (!same) this.add(event);
    const all = same ? this.events : [...this.events, event];
    this.haveLosses = haveLosses(all);
    this.carried = carriedOf(all);
  }

  /** What happened before this process; given out once, so that it does not stay in memory. */
  replay(): SearchEvent[] {
    const { events } = this;
    this.events = [];
    return events;
  }

  add(event: SearchEvent): void {
    // What was leased or closed follows from the events before it.
    const mayWait = event.event === 'leased' || event.event === 'closed';
    appendLine(this.path, JSON.stringify(event), mayWait);
  }
}

/** Whether networks can be compared by their loss: each that has a score has one, and all are means over as many batches. */
export function haveLosses(events: readonly SearchEvent[]): boolean {
  const kinds = new Set<string>();
  let settings = '';
  for (const event of events) {
    if (event.event === 'opened') settings = JSON.stringify(event.tune ?? null);
    else if (event.event === 'proposed') kinds.add(settings);
    else if (event.event === 'scored' && event.score !== null && event.loss === undefined) return false;
  }
  return kinds.add(settings).size === 1;
}

/** Networks that were proposed before the latest settings. */
export function carriedOf(events: readonly SearchEvent[]): number {
  const begun = events.findLastIndex((event) => event.event === 'opened');
  return events
    .slice(0, begun)
    .reduce((sum, event) => sum + (event.event === 'proposed' ? event.genomes.length : 0), 0);
}

/** Events of a journal that is being written: a last line without its end is none yet. @throws UserError SEARCH_JOURNAL */
export const eventsIn = (text: string, path: string): SearchEvent[] =>
  text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .flatMap((line, index) => (line === '' ? [] : [parse(line, path, index + 1)]));

function changed(path: string, sameSpace: boolean): UserError {
  const what = sameSpace ? 'with other settings' : 'of other networks';
  return new UserError('SEARCH_CHANGED', `${path} is the journal of a search ${what}.`, {
    place: path,
    suggestions: [
      ...(sameSpace ? ['Go on with the new settings and keep all scores: --extend'] : []),
      'Begin another search: --out OTHER_FOLDER',
    ],
  });
}

function parse(line: string, path: string, number: number): SearchEvent {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    json = undefined;
  }
  const parsed = searchEventSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new UserError('SEARCH_JOURNAL', `${path}:${number} is no event of a search.`, {
    place: `${path}:${number}`,
    suggestions: ['Give another folder: --out FOLDER. A journal must not be edited.'],
  });
}
