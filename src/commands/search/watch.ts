import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../../cli/base-command.js';
import { liveLines } from '../../cli/live-lines.js';
import { searchFlags, searchOptions } from '../../cli/search-flags.js';
import type { SearchStatus } from '../../search/status.js';

export default class SearchWatch extends BaseCommand {
  static override summary = 'how a search stands that runs in another terminal';
  static override description =
    'Reads the journal of a search and shows generation, hypervolume, best score, time left and what each worker does, until ' +
    'the search is over. search.html beside the results shows the networks themselves.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> -c scen.yaml',
    '<%= config.bin %> <%= command.id %> -c scen.yaml --once --json',
  ];
  static override flags = {
    config: searchFlags.config,
    out: searchFlags.out,
    once: Flags.boolean({ description: 'look once' }),
  };

  async run(): Promise<SearchStatus> {
    const { flags } = await this.parse(SearchWatch);
    const { watch } = await import('../../search/watch.js');
    const { statusLines } = await import('../../search/status.js');
    const { scenario, out } = searchOptions({ ...flags, target: '', profile: '', env: '' });
    const show = liveLines(process.stdout);
    const once = flags.once || this.jsonEnabled();
    const status = await watch({
      scenario,
      out,
      everyMs: 1000,
      ...(once ? {} : { onStatus: (now) => show(statusLines(now, Date.now())) }),
      signal: this.signal,
    });
    if (once) for (const line of statusLines(status, Date.now())) this.log(line);
    return status;
  }
}
