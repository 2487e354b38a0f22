import { join, resolve } from 'node:path';
import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../cli/base-command.js';

interface ReportResult {
  report: string;
  bytes: number;
}

export default class Report extends BaseCommand {
  static override summary = 'make the report of a run again';
  static override description =
    'Writes report.html from what the run folder holds: one file that works offline, with accuracy, size, where the ' +
    'noise arises, and what to try.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> runs/net',
    '<%= config.bin %> <%= command.id %> runs/net --out net.html',
  ];
  static override args = { run: Args.string({ required: true, description: 'folder of a finished run' }) };
  static override flags = {
    out: Flags.string({ description: 'file to write (default: report.html in the run folder)' }),
  };

  async run(): Promise<ReportResult> {
    const { args, flags } = await this.parse(Report);
    const { readRun, REPORT } = await import('../report/from-run.js');
    const { renderReport } = await import('../report/report.js');
    const { writeFileAtomic } = await import('../run/atomic.js');
    const folder = resolve(args.run);
    const report = flags.out ? resolve(flags.out) : join(folder, REPORT);
    const { readLlmResult } = await import('../run/history.js');
    const { renderLlmReport } = await import('../report/llm/page.js');
    const llm = readLlmResult(folder);
    const page = llm ? renderLlmReport(llm) : renderReport(readRun(folder));
    await writeFileAtomic(report, page);
    this.log(report);
    return { report, bytes: Buffer.byteLength(page) };
  }
}
