import { BaseCommand } from '../../cli/base-command.js';
import type { TargetEntry } from '../../target/describe.js';

export default class TargetList extends BaseCommand {
  static override summary = 'list the devices that dopt knows';
  static override description =
    'Each can be given to --target by its name. Precisions are what layers compute in; the counts say how many values of ' +
    'the profile were measured, published, derived or assumed.';
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --json',
  ];

  async run(): Promise<{ targets: TargetEntry[] }> {
    await this.parse(TargetList);
    const { describeTargets, targetLines } = await import('../../target/describe.js');
    const targets = describeTargets();
    for (const line of targetLines(targets)) this.log(line);
    return { targets };
  }
}
