import { EXIT } from '../../src/errors.js';
import type { Raised } from './error-sources.js';

/** Exit code of each kind, where an error does not have its own. */
const USUAL = {
  user: 'invalidInput',
  environment: 'environment',
  external: 'framework',
  bug: 'bug',
} as const;

/** What is known of a code: all places that raise it, and what errors.yaml adds. */
export interface ErrorEntry {
  code: string;
  exits: number[];
  messages: string[];
  suggestions: string[];
  note: string | null;
}

/** Errors that a user can meet, a code each; those of kind `bug` come out as BUG. */
export function errorEntries(
  raised: readonly Raised[],
  notes: Readonly<Record<string, string>>,
): ErrorEntry[] {
  const codes = [...new Set(raised.filter(({ kind }) => kind !== 'bug').map(({ code }) => code))].sort();
  return codes.map((code) => {
    const places = raised.filter((one) => one.code === code && one.kind !== 'bug');
    const said = places.map(({ message }) => message.replace(/\s+/g, ' ').trim());
    const exits = places.filter(({ message }) => message !== '' || places.length === 1).map(exitOf);
    return {
      code,
      exits: unique(exits.length > 0 ? exits : places.map(exitOf)).sort((a, b) => a - b),
      messages: unique(said.filter((text) => /[a-z]{3}/.test(text.replaceAll('…', '')))),
      suggestions: unique(places.flatMap(({ suggestions }) => suggestions)),
      note: notes[code] ?? null,
    };
  });
}

const exitOf = ({ kind, exit }: Raised): number => EXIT[(exit ?? USUAL[kind]) as keyof typeof EXIT];

const unique = <T>(items: readonly T[]): T[] => [...new Set(items)];

/** docs/reference/errors.md */
export function errorsPage(entries: readonly ErrorEntry[]): string {
  return [
    '# Errors by code',
    '',
    'What each code means and what to do. An error on the terminal ends with its code; `dopt docs CODE` prints its entry. `…` stands',
    'for what is filled in. Exit codes: 0 ok · 1 a defect of dopt · 2 usage · 3 invalid input or recipe · 4 environment ·',
    '5 Python framework · 6 native core · 7 verification · 75 interrupted, can be resumed · 130 Ctrl-C.',
    '',
    '## BUG',
    '',
    'Exit code 1. Something that must not happen happened: a defect of dopt, not of your model. Please report it with the run',
    'folder. `DOPT_DEBUG=1` shows where.',
    '',
    ...entries.flatMap(({ code, exits, messages, suggestions, note }) => [
      `## ${code}`,
      '',
      `Exit code ${exits.join(' or ')}.${note ? ` ${note}` : ''}`,
      ...(messages.length > 0 ? ['', ...messages.map((text) => `> ${text}`).flatMap(between)] : []),
      ...(suggestions.length > 0 ? ['', ...suggestions.map((text) => `- ${text}`)] : []),
      '',
    ]),
  ].join('\n');
}

/** Quotations apart from each other. */
const between = (text: string, index: number): string[] => (index === 0 ? [text] : ['>', text]);
