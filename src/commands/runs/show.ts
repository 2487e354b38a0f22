import * as Args from '@oclif/core/args';
import { BaseCommand } from '../../cli/base-command.js';
import type { RunSummary } from '../../run/history.js';

export default class RunsShow extends BaseCommand {
  static override summary = 'show what one run did';
  static override examples = ['<%= config.bin %> <%= command.id %> runs/net'];
  static override args = { run: Args.string({ required: true, description: 'run folder' }) };

  async run(): Promise<RunSummary> {
    const { args } = await this.parse(RunsShow);
    const { resolve } = await import('node:path');
    const { readRunSummary } = await import('../../run/history.js');
    const { summarizeLlm } = await import('../../llm/summary.js');
    const { summarize } = await import('../../quantize/summary.js');
    const run = readRunSummary(resolve(args.run));
    this.log(`${run.state}, started ${run.started}`);
    const found = run.result ?? run.llm;
    if (found) {
      this.log(`command    ${found.command.join(' ')}`);
      for (const { name, seconds, reused } of found.stages) {
        this.log(`  ${name.padEnd(10)} ${seconds.toFixed(1)} s${reused ? ' (from an earlier run)' : ''}`);
      }
      this.log(run.llm ? summarizeLlm(run.llm, args.run) : summarize(run.result!, args.run));
    } else if (run.state === 'finished') {
      this.log('It was a stage that leaves files and no result.');
    } else {
      this.log('It has no result yet: continue it by repeating its command with --resume.');
    }
    return run;
  }
}
