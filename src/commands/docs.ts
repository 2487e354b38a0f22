import * as Args from '@oclif/core/args';
import { BaseCommand } from '../cli/base-command.js';
import type { DocsPage } from '../docs/pages.js';

export default class Docs extends BaseCommand {
  static override summary = 'read the documentation in the terminal';
  static override description =
    'Lists the pages, or prints one: by its topic, or the entry of an error by its code.';
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> get-started',
    '<%= config.bin %> <%= command.id %> DATA_SHAPE',
  ];
  static override args = {
    topic: Args.string({ description: 'page, or code of an error (default: list the pages)' }),
  };

  async run(): Promise<{ pages: DocsPage[] } | (DocsPage & { text: string })> {
    const { args } = await this.parse(Docs);
    const { forTerminal, listPages, readTopic } = await import('../docs/pages.js');
    if (args.topic !== undefined) {
      const page = await readTopic(args.topic);
      this.log(forTerminal(page.text).trimEnd());
      return page;
    }
    const pages = (await listPages()).filter(({ topic }) => !topic.startsWith('decisions/'));
    const width = Math.max(...pages.map(({ topic }) => topic.length));
    for (const { topic, title } of pages) this.log(`${topic.padEnd(width)}  ${title}`);
    return { pages };
  }
}
