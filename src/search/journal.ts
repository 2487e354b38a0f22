import { type SearchEvent, searchEventSchema } from '../config/search-event.js';
import { UserError } from '../errors.js';
import { appendLine, readLines } from '../run/lines.js';

/**
 * The journal of a search: one event a line, each on the disk before anything follows from it. It is the only state: a
 * search that was killed reads it and goes on as if it had not been.
 */
export class SearchJournal {
  readonly events: SearchEvent[];

  /**
   * Opens a journal or begins one.
   * @param digest of all that decides the search
   * @param space digest of what genomes stand for
   * @param extend goes on under another digest of the same space, with all scores kept
   * @throws UserError SEARCH_CHANGED for a journal of another search, SEARCH_JOURNAL for a file that is none
   */
  constructor(
    private readonly path: string,
    { digest, space }: { digest: string; space: string },
    extend: boolean,
  ) {
    this.events = readLines(path).map((line, index) => parse(line, path, index + 1));
    const opened = this.events.findLast((event) => event.event === 'opened');
    if (opened?.digest === digest && opened.space === space) return;
    if (opened && (!extend || opened.space !== space)) throw changed(path, opened.space === space);
    this.add({ event: 'opened', version: 1, digest, space, time: new Date().toISOString() });
  }

  add(event: SearchEvent): void {
    appendLine(this.path, JSON.stringify(event));
    this.events.push(event);
  }
}

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
