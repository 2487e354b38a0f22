import type { Recipe } from '../../src/config/recipe.js';

const cell = (text: string): string => text.replaceAll('|', '\\|').replace(/\s*\n\s*/g, ' ');

/** docs/reference/recipes.md: what comes with dopt, what to expect of it, and what to know on devices. */
export function recipesPage(recipes: readonly Recipe[]): string {
  const rows = recipes.map(({ name, description, expected }) => {
    const came = expected?.measured ? (expected.result ?? 'yes') : 'no network of it was at hand';
    return `| [\`${name}\`](../../recipes/${name}.yaml) | ${cell(description)} | ${cell(came)} | ${cell(expected?.source ?? '')} |`;
  });
  const hints = recipes.flatMap(({ name, target }) =>
    Object.entries(target ?? {}).map(
      ([device, hint]) => `| \`${name}\` | ${device === '*' ? 'all' : `\`${device}\``} | ${cell(hint)} |`,
    ),
  );
  return [
    '# Recipes that come with dopt',
    '',
    'Each is tried with a tiny network of its family by a test. Whether real ones were measured, and where settings or figures are',
    'from, stands beside it. [How to use and write them](../recipes.md)',
    '',
    '| recipe | for | measured | settings or figures from |',
    '|---|---|---|---|',
    ...rows,
    '',
    '## What to know on devices',
    '',
    '| recipe | device | |',
    '|---|---|---|',
    ...hints,
    '',
  ].join('\n');
}
