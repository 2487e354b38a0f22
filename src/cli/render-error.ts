import { Bug, DoptError, EXIT, UserError } from '../errors.js';
import { nearMatches } from '../graph/near-match.js';
import { machineError } from './machine-error.js';

/**
 * Any thrown value as one of our four kinds; what oclif's parser reports is the user's, what the system refuses is the
 * environment's, anything unknown is a bug.
 *
 * @param known names of the command's flags: those near to one that it does not have are suggested
 */
export function asDoptError(error: unknown, known: readonly string[] = []): DoptError {
  if (error instanceof DoptError) return error;
  const { message, oclif, code, flags } = error as Error & {
    oclif?: { exit?: number };
    code?: string;
    /** Flags that do not exist, with their dashes. */
    flags?: readonly string[];
  };
  if (oclif?.exit !== undefined || (error as Error).constructor?.name.endsWith('ParserError')) {
    const text = stripAnsi(message ?? String(error));
    return new UserError('USAGE', inOneLine(text), {
      exitCode: EXIT.usage,
      suggestions: [...nearFlags(flags ?? [], known), 'See all flags with --help.'],
      cause: error,
    });
  }
  return (
    machineError(error) ?? new Bug(`${code ? `${code}: ` : ''}${message ?? String(error)}`, { cause: error })
  );
}

/** What oclif's parser reports, without its frame and with the dashes of flags. */
const inOneLine = (text: string): string =>
  text
    .replace(/\nSee more help with --help$/, '')
    .replace(/^The following errors? occurred:\s*/, '')
    .replace(/Missing required flag (?=\w)/g, 'Missing required flag --');

function nearFlags(unknown: readonly string[], known: readonly string[]): string[] {
  return unknown.flatMap((flag) => {
    const near = nearMatches(flag.replace(/^-+/, ''), known).map((name) => `--${name}`);
    return near.length > 0 ? [`Did you mean ${near.join(' or ')}?`] : [];
  });
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with one
const stripAnsi = (text: string): string => text.replace(/\u001b\[[0-9;]*m/g, '');

/** The error as lines for a terminal: what, where, expected and found, what to do next. */
export function renderError(error: DoptError, debug: boolean): string {
  const lines = [`Error: ${error.message}`];
  if (error.place && !error.message.includes(error.place)) lines.push(`  where:    ${error.place}`);
  if (error.expected) lines.push(`  expected: ${error.expected}`);
  // Several lines, such as a traceback, stand below each other.
  if (error.found) lines.push(`  found:    ${error.found.replaceAll('\n', '\n            ')}`);
  error.suggestions.forEach((suggestion, index) => {
    lines.push(`${index === 0 ? '  try:      ' : '            '}${suggestion}`);
  });
  lines.push(`  code:     ${error.code} (exit ${error.exitCode})`);
  const cause = error.cause instanceof Error ? error.cause : null;
  if (debug || error.kind === 'bug') lines.push('', ((debug && cause) || (cause ?? error)).stack ?? '');
  return lines.join('\n').trimEnd();
}
