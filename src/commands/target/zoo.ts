import { BaseCommand } from '../../cli/base-command.js';
import type { ZooEntry } from '../../target/describe.js';

export default class TargetZoo extends BaseCommand {
  static override summary = 'list well-known networks to compare with';
  static override description =
    'Networks of shapes, built from the tables of their papers, without weights. `dopt cost zoo:NAME` says what they cost.';
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> cost zoo:mobilenet-v2',
  ];

  async run(): Promise<{ networks: ZooEntry[] }> {
    await this.parse(TargetZoo);
    const { describeZoo } = await import('../../target/describe.js');
    const networks = describeZoo();
    for (const { name, input, macs, parameters } of networks)
      this.log(
        `zoo:${name.padEnd(20)} ${input.join('x').padEnd(12)} ${(macs / 1e6).toFixed(0).padStart(7)} M multiplications ${(parameters / 1e6).toFixed(2).padStart(7)} M parameters`,
      );
    return { networks };
  }
}
