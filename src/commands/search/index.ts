import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../../cli/base-command.js';
import { searchFlags, searchOptions } from '../../cli/search-flags.js';
import type { SearchResult, StrategyName } from '../../search/search.js';

export default class Search extends BaseCommand {
  static override summary = 'search network structures under a budget';
  static override description =
    'Trains the shared weights of all networks that a scenario allows, tries networks that keep its limits, and writes ' +
    'those that none beats as results/model_arch_result_N.py. Limits are checked by the cost model before anything is ' +
    'trained. A search that was cut off goes on when the command is repeated.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> -c scen.yaml',
    '<%= config.bin %> <%= command.id %> -c scen.yaml --target kirin9020 --extend',
  ];
  static override flags = {
    ...searchFlags,
    strategy: Flags.string({
      options: ['evolution', 'regularized', 'local', 'random'],
      default: 'evolution',
      description: 'how networks are chosen; all but the first are for comparison',
    }),
    workers: Flags.integer({
      min: 1,
      default: 1,
      description: 'processes that score networks where the scenario names no GPU, and on a cluster',
      helpGroup: 'RUN',
    }),
    executor: Flags.string({
      options: ['local', 'ray'],
      default: 'local',
      description: 'where networks are trained and scored: this machine, or those of a Ray cluster',
      helpGroup: 'RUN',
    }),
    'ray-address': Flags.string({
      default: 'auto',
      description: 'HOST:PORT of the Ray cluster, or auto for the one that this machine belongs to',
      helpGroup: 'RUN',
    }),
    extend: Flags.boolean({ description: 'go on under changed settings, and keep all scores' }),
  };

  async run(): Promise<SearchResult> {
    const { flags } = await this.parse(Search);
    const { search } = await import('../../search/search.js');
    const { searchLines } = await import('../../search/summary.js');
    const result = await search({
      ...searchOptions(flags),
      strategy: flags.strategy as StrategyName,
      workers: flags.workers,
      cluster: flags.executor === 'ray' ? flags['ray-address'] : null,
      extend: flags.extend,
      progress: this.progressFor(flags),
      signal: this.signal,
    });
    for (const line of searchLines(result)) this.log(line);
    return result;
  }
}
