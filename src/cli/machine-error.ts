import { dirname } from 'node:path';
import { EnvironmentError } from '../errors.js';
import { diskError } from '../run/atomic.js';

/** An error of the system that no part of dopt foresaw and that says something of the machine; null for any other. */
export function machineError(error: unknown): EnvironmentError | null {
  const { code, syscall, path, message } = error as NodeJS.ErrnoException;
  if (syscall === 'mkdtemp' && path !== undefined) {
    const place = dirname(path);
    return new EnvironmentError('TEMP_FOLDER', `Cannot make a temporary folder in ${place}: ${message}.`, {
      place,
      cause: error,
      suggestions: ['Name a folder that can be written to: TMPDIR=/path/to/folder.'],
    });
  }
  if (code === 'EMFILE' || code === 'ENFILE') {
    return new EnvironmentError('TOO_MANY_FILES', 'The system lets dopt open no more files.', {
      ...(path === undefined ? {} : { place: path }),
      cause: error,
      suggestions: ['Raise the limit: ulimit -n 4096.', 'Close other programs.'],
    });
  }
  if (code === 'ENOMEM') {
    return new EnvironmentError('NO_MEMORY', `The system has no memory left: ${message}.`, {
      cause: error,
      suggestions: ['Close other programs, or give fewer or smaller samples.'],
    });
  }
  if (path === undefined) return null;
  const disk = diskError(error, path);
  return disk instanceof EnvironmentError ? disk : null;
}
