import { BaseCommand } from '../../cli/base-command.js';
import { searchFlags, searchOptions } from '../../cli/search-flags.js';
import type { SpaceProfile } from '../../search/profile.js';

export default class SearchProfile extends BaseCommand {
  static override summary = 'what the networks of a scenario cost, before anything is trained';
  static override description =
    'The least, the middle and the most of every limited cost, and how many networks keep the limits. Fails where none does.';
  static override examples = ['<%= config.bin %> <%= command.id %> -c scen.yaml --target kirin9020'];
  static override flags = searchFlags;

  async run(): Promise<SpaceProfile> {
    const { flags } = await this.parse(SearchProfile);
    const { openSearch, workFolder } = await import('../../search/open.js');
    const { profileLines, profileSpace, refuseImpossible } = await import('../../search/profile.js');
    const options = searchOptions(flags);
    const { problem, costs, scenario } = await openSearch({
      ...options,
      work: workFolder(options.out),
      progress: this.progressFor(flags),
      signal: this.signal,
    });
    const profile = profileSpace(problem, costs, scenario.searcher.seed);
    for (const line of profileLines(profile)) this.log(line);
    refuseImpossible(profile, options.scenario);
    return profile;
  }
}
