import { Command } from '@oclif/core/command';
import { environmentsFolder, listEnvironments } from '../../bridge/environments.js';
import type { Environment } from '../../bridge/stamps.js';

interface EnvListResult {
  folder: string;
  environments: (Environment & { current: boolean })[];
}

export default class EnvList extends Command {
  static override enableJsonFlag = true;
  static override summary = 'list the Python environments on this machine';
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --json',
  ];

  async run(): Promise<EnvListResult> {
    await this.parse(EnvList);
    const folder = environmentsFolder();
    const environments = await listEnvironments();
    for (const { profile, how, root, current } of environments) {
      this.log(`${profile}${current ? '' : ' (not in use)'}`);
      this.log(`  ${how}`);
      this.log(`  ${root}`);
    }
    if (environments.length === 0) this.log(`No environment in ${folder}; \`dopt env create\` makes one.`);
    return { folder, environments };
  }
}
