import { Command } from '@oclif/core/command';
import * as Flags from '@oclif/core/flags';
import { EXIT } from '../errors.js';
import { type Progress, silentProgress, streamProgress } from './progress.js';
import { asDoptError, renderError } from './render-error.js';

/**
 * What all commands share: --json and --quiet, progress on stderr, Ctrl-C as an AbortSignal, one place that prints errors.
 */
export abstract class BaseCommand extends Command {
  static override enableJsonFlag = true;
  static override baseFlags = {
    quiet: Flags.boolean({ description: 'print results and errors only', helpGroup: 'GLOBAL' }),
  };

  private readonly controller = new AbortController();
  /** Aborted by Ctrl-C or SIGTERM. */
  protected readonly signal = this.controller.signal;
  private interrupted: 'SIGINT' | 'SIGTERM' | null = null;

  /** Progress lines, silent with --quiet and --json. */
  protected progressFor(flags: { quiet?: boolean | undefined }): Progress {
    return flags.quiet || this.jsonEnabled() ? silentProgress : streamProgress(process.stderr);
  }

  protected override async init(): Promise<void> {
    await super.init();
    for (const name of ['SIGINT', 'SIGTERM'] as const) {
      process.on(name, () => {
        // The first asks the work to stop where it can be resumed; the second does not wait.
        if (this.interrupted) process.exit(EXIT.sigint);
        this.interrupted = name;
        if (!this.jsonEnabled()) process.stderr.write('\nStopping; press Ctrl-C again to stop at once.\n');
        this.controller.abort();
      });
    }
  }

  protected override async catch(thrown: Error): Promise<void> {
    // oclif ends commands (--help, exit) by throwing.
    if ((thrown as { code?: string }).code === 'EEXIT') throw thrown;
    const error = asDoptError(thrown, Object.keys(this.ctor.flags ?? {}));
    if (this.jsonEnabled()) this.logJson({ error: error.toJSON() });
    else process.stderr.write(`${renderError(error, process.env.DOPT_DEBUG === '1')}\n`);
    process.exitCode =
      this.interrupted === 'SIGINT' && error.exitCode === EXIT.interrupted ? EXIT.sigint : error.exitCode;
  }
}
