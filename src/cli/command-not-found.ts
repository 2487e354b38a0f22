import { EXIT, UserError } from '../errors.js';
import { nearMatches } from '../graph/near-match.js';

/**
 * The error for a command that does not exist.
 * @param id what oclif made of the arguments before the first flag: words joined by ":"
 * @param commands ids of all commands, `llm:plan`
 * @param topics ids of their groups, `llm`
 */
export function unknownCommand(
  id: string,
  commands: readonly string[],
  topics: readonly string[] = [],
): UserError {
  const words = id.split(':');
  const asked = words.slice(0, topics.includes(words[0]!) ? 2 : 1).join(' ');
  const known = commands.map((command) => command.replaceAll(':', ' '));
  return new UserError('USAGE', `There is no command "${asked}".`, {
    exitCode: EXIT.usage,
    suggestions: [
      ...nearMatches(asked, known).map((name) => `Did you mean dopt ${name}?`),
      'See all commands with dopt --help.',
    ],
  });
}

/** Hook of oclif for a command that it does not find. */
export default function commandNotFound(options: {
  id: string;
  config: { commandIDs: string[]; topics: { name: string }[] };
}): never {
  const { id, config } = options;
  throw unknownCommand(
    id,
    config.commandIDs,
    config.topics.map(({ name }) => name),
  );
}
