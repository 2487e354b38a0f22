import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { ENVIRONMENT_KINDS } from '../../bridge/profiles.js';
import { BaseCommand } from '../../cli/base-command.js';
import { EXIT } from '../../errors.js';
import type { Replay } from '../../run/replay.js';

export default class RunsReplay extends BaseCommand {
  static override summary = 'repeat a finished run and compare what comes out, byte for byte';
  static override description =
    'Takes the command from the manifest of the run. Exits with 7 when a result differs, and names the first stage, file ' +
    'and tensors that do.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> runs/net',
    '<%= config.bin %> <%= command.id %> runs/net --env docker --out runs/net-in-docker',
  ];
  static override args = { run: Args.string({ required: true, description: 'run folder' }) };
  static override flags = {
    out: Flags.string({ description: 'run folder of the repetition (default: RUN-replay)' }),
    env: Flags.string({
      options: [...ENVIRONMENT_KINDS],
      description: 'Python to repeat it with (default: as the run did)',
    }),
  };

  async run(): Promise<Replay> {
    const { args, flags } = await this.parse(RunsReplay);
    const { resolve } = await import('node:path');
    const { describeReplay, replay } = await import('../../run/replay.js');
    const run = resolve(args.run);
    const result = await replay({
      run,
      out: resolve(flags.out ?? `${run}-replay`),
      environment: flags.env ?? null,
      quiet: flags.quiet || this.jsonEnabled(),
      signal: this.signal,
    });
    this.log(describeReplay(result));
    if (!result.equal) process.exitCode = EXIT.verification;
    return result;
  }
}
