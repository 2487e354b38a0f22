import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../../cli/base-command.js';
import { searchFlags, searchOptions } from '../../cli/search-flags.js';
import type { Retrained } from '../../search/retrained.js';

export default class SearchRetrain extends BaseCommand {
  static override summary = 'train a network that a search has found';
  static override description =
    'Trains network N of results/model_arch_result_N.py from new weights, scores it, and writes it below retrained/. A ' +
    'training that was cut off goes on from its last epoch when the command is repeated.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> 0 -c scen.yaml --epochs 100',
    '<%= config.bin %> <%= command.id %> 0 -c scen.yaml --quantize --target kirin9020',
  ];
  static override args = {
    number: Args.integer({ required: true, min: 0, description: 'N of model_arch_result_N.py' }),
  };
  static override flags = {
    ...searchFlags,
    epochs: Flags.integer({ min: 1, description: 'epochs (default: those of the scenario)' }),
    quantize: Flags.boolean({ description: 'quantize the trained network too, to INT8' }),
  };

  async run(): Promise<Retrained> {
    const { args, flags } = await this.parse(SearchRetrain);
    const { retrain } = await import('../../search/retrain.js');
    const { retrainedLines } = await import('../../search/summary.js');
    const result = await retrain({
      ...searchOptions(flags),
      number: args.number,
      epochs: flags.epochs ?? null,
      quantize: flags.quantize,
      progress: this.progressFor(flags),
      signal: this.signal,
      command: ['dopt', 'search', 'retrain', ...this.argv],
    });
    for (const line of retrainedLines(result)) this.log(line);
    return result;
  }
}
