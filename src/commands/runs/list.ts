import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../../cli/base-command.js';
import type { RunSummary } from '../../run/history.js';

export default class RunsList extends BaseCommand {
  static override summary = 'list the runs below a folder';
  static override examples = ['<%= config.bin %> <%= command.id %> --root runs'];
  static override flags = {
    root: Flags.string({ default: '.', description: 'folder to look in, three levels deep' }),
  };

  async run(): Promise<RunSummary[]> {
    const { flags } = await this.parse(RunsList);
    const { resolve } = await import('node:path');
    const { findRuns, outputSqnr, shown } = await import('../../run/history.js');
    const runs = findRuns(resolve(flags.root));
    if (runs.length === 0)
      this.log(`No runs below ${flags.root}. Make one with: dopt quantize MODEL --data … --out runs/NAME`);
    for (const { folder, state, started, result, llm } of runs) {
      const sqnr = outputSqnr(result);
      const score = result?.verification?.task?.scores[0];
      const figures = [
        sqnr === null ? '' : `${sqnr.toFixed(1)} dB`,
        score ? `${score.name} ${score.quantized.toFixed(2)}` : '',
        llm?.score ? `perplexity ${llm.score.quantized.perplexity.toFixed(2)}` : '',
      ];
      this.log(
        [started.slice(0, 16).replace('T', ' '), state.padEnd(11), shown(folder), ...figures]
          .join('  ')
          .trimEnd(),
      );
    }
    return runs;
  }
}
