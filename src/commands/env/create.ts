import * as Args from '@oclif/core/args';
import { Command } from '@oclif/core/command';
import * as Flags from '@oclif/core/flags';
import { type Environment, ensureEnvironment } from '../../bridge/environments.js';
import { PROFILES } from '../../bridge/profiles.js';

export default class EnvCreate extends Command {
  static override enableJsonFlag = true;
  static override summary = 'make a Python environment';
  static override description =
    'Finds a Python 3.10 (DOPT_PYTHON, PATH, pyenv, uv; else 3.11; else brings 3.10) and installs the locked packages of a profile into an ' +
    'environment under $DOPT_HOME (default ~/.cache/dopt). Other commands do this on first need.';
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> onnx --force',
  ];
  static override args = {
    profile: Args.string({ description: 'set of packages', options: [...PROFILES], default: PROFILES[0] }),
  };
  static override flags = {
    force: Flags.boolean({ description: 'make it anew even when it is there' }),
  };

  async run(): Promise<Environment> {
    const { args, flags } = await this.parse(EnvCreate);
    const profile = PROFILES.find((name) => name === args.profile)!;
    const environment = await ensureEnvironment(profile, 'venv', {
      force: flags.force,
      refresh: true,
      onProgress: (line) => this.logToStderr(line),
    });
    this.log(`${profile}: ${environment.how}`);
    this.log(environment.root);
    return environment;
  }
}
