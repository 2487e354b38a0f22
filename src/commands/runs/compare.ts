import * as Args from '@oclif/core/args';
import { BaseCommand } from '../../cli/base-command.js';
import { UserError } from '../../errors.js';
import type { RunDifference } from '../../run/history.js';

export default class RunsCompare extends BaseCommand {
  static override summary = 'show what differs between two finished runs';
  static override examples = ['<%= config.bin %> <%= command.id %> runs/net runs/net2'];
  static override args = {
    first: Args.string({ required: true, description: 'run folder' }),
    second: Args.string({ required: true, description: 'run folder' }),
  };

  async run(): Promise<RunDifference> {
    const { args } = await this.parse(RunsCompare);
    const { resolve } = await import('node:path');
    const { compareRuns, readParams, readRunSummary } = await import('../../run/history.js');
    const [a, b] = [args.first, args.second].map((folder) => readRunSummary(resolve(folder))) as [
      never,
      never,
    ];
    const finished = ({ folder, result }: ReturnType<typeof readRunSummary>) => {
      if (result) return result;
      throw new UserError('RUN_UNFINISHED', `The run in ${folder} has no result to compare.`, {
        place: folder,
        suggestions: ['Continue it by repeating its command with --resume.'],
      });
    };
    const difference = compareRuns(
      finished(a),
      finished(b),
      readParams(resolve(args.first)),
      readParams(resolve(args.second)),
    );
    const number = (value: number | null): string =>
      value === null ? '–' : String(Math.round(value * 100) / 100);
    for (const { name, first, second } of difference.figures) {
      this.log(`${name.padEnd(24)} ${number(first).padStart(12)} ${number(second).padStart(12)}`);
    }
    for (const { name, first, second } of difference.settings) {
      this.log(`setting ${name}: ${JSON.stringify(first)} against ${JSON.stringify(second)}`);
    }
    this.log(`${difference.scales.length} activations have other scales; most different:`);
    for (const { tensor, first, second } of difference.scales.slice(0, 10)) {
      this.log(`  ${tensor}: ${first.toPrecision(4)} against ${second.toPrecision(4)}`);
    }
    const { onlyFirst, onlySecond } = difference;
    if (onlyFirst.length + onlySecond.length > 0) {
      this.log(`quantized in the first only: ${onlyFirst.length}; in the second only: ${onlySecond.length}`);
    }
    return difference;
  }
}
