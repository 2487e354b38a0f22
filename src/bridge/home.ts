import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/** Where dopt keeps what it makes: $DOPT_HOME, by default ~/.cache/dopt. */
export const homeFolder = (): string => resolve(process.env.DOPT_HOME || join(homedir(), '.cache/dopt'));
