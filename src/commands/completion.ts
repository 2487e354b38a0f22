import * as Args from '@oclif/core/args';
import { BaseCommand } from '../cli/base-command.js';
import { completionScript, SHELLS, type Shell } from '../cli/completion.js';

export default class Completion extends BaseCommand {
  static override summary = 'print a script that completes commands and flags in a shell';
  static override examples = [
    'source <(<%= config.bin %> <%= command.id %> bash)',
    '<%= config.bin %> <%= command.id %> fish > ~/.config/fish/completions/dopt.fish',
  ];
  static override args = {
    shell: Args.string({ required: true, options: [...SHELLS], description: 'shell to write it for' }),
  };

  async run(): Promise<{ shell: Shell; script: string }> {
    const { args } = await this.parse(Completion);
    const commands = this.config.commands
      .filter(({ hidden }) => !hidden)
      .map(({ id, summary, flags }) => ({
        id: id.replaceAll(':', ' '),
        summary: summary ?? '',
        flags: Object.values(flags).map((flag) => ({
          name: flag.name,
          summary: flag.description ?? '',
          takesValue: flag.type === 'option',
          options: flag.type === 'option' ? (flag.options ?? []) : [],
        })),
      }));
    const shell = args.shell as Shell;
    const script = completionScript(shell, this.config.bin, commands);
    this.log(script.trimEnd());
    return { shell, script };
  }
}
