import { describe, expect, it } from 'vitest';
import { asDoptError } from './render-error.js';

const unknownFlag = (...flags: string[]): Error =>
  Object.assign(new Error(`Nonexistent flags: ${flags.join(', ')}\nSee more help with --help`), {
    oclif: { exit: 2 },
    flags,
  });

describe('what the parser reports', () => {
  it('is a mistake of the user, with the flags that were likely meant', () => {
    const error = asDoptError(unknownFlag('--network-class', '--traget'), ['class', 'target', 'data']);
    expect(error).toMatchObject({ code: 'USAGE', exitCode: 2, kind: 'user' });
    expect(error.message).not.toContain('--help');
    expect(error.suggestions).toEqual([
      'Did you mean --class?',
      'Did you mean --target?',
      'See all flags with --help.',
    ]);
  });

  it('stands in one line where one flag is missing', () => {
    const text = 'The following error occurred:\n  Missing required flag data\nSee more help with --help';
    const error = asDoptError(Object.assign(new Error(text), { oclif: { exit: 2 } }));
    expect(error.message).toBe('Missing required flag --data');
  });

  it('has no suggestion where no flag is near', () => {
    expect(asDoptError(unknownFlag('--zzzzzzz'), ['class']).suggestions).toEqual([
      'See all flags with --help.',
    ]);
  });
});

it('takes anything unknown for a defect', () => {
  expect(asDoptError(new TypeError('x'))).toMatchObject({ kind: 'bug', exitCode: 1 });
});

it.each([
  [{ code: 'EMFILE', syscall: 'open', path: '/a' }, 'TOO_MANY_FILES'],
  [{ code: 'ENOENT', syscall: 'mkdtemp', path: '/none/dopt-job-' }, 'TEMP_FOLDER'],
  [{ code: 'ENOMEM', syscall: 'read' }, 'NO_MEMORY'],
  [{ code: 'ENOSPC', syscall: 'write', path: '/full/x' }, 'DISK_WRITE'],
])('takes %o for what the machine refuses', (fields, code) => {
  const error = asDoptError(Object.assign(new Error('system'), fields));
  expect(error).toMatchObject({ code, kind: 'environment', exitCode: 4 });
  expect(error.suggestions.length).toBeGreaterThan(0);
});
