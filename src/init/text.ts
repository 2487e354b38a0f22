import { createRequire } from 'node:module';
import type { Pair, Scalar, YAMLMap } from 'yaml';
import type { Recipe } from '../config/recipe.js';

const require = createRequire(import.meta.url);

/**
 * A recipe as YAML with comments.
 *
 * @param head lines in front
 * @param comments by path of a key, such as "preprocess.mean"; each stands above its key
 */
export function recipeYaml(
  recipe: Recipe,
  head: readonly string[],
  comments: ReadonlyMap<string, string>,
): string {
  const { Document, Scalar, isMap } = require('yaml') as typeof import('yaml');
  const document = new Document(recipe);
  const visit = (map: YAMLMap, path: string): void => {
    for (const pair of map.items as Pair<Scalar<string>>[]) {
      const name = `${path}${pair.key.value}`;
      const comment = comments.get(name);
      const key = new Scalar(pair.key.value);
      if (comment) key.commentBefore = ` ${comment}`;
      pair.key = key;
      if (isMap(pair.value)) visit(pair.value, `${name}.`);
      // Pairs of numbers on one line.
      else if (pair.value && 'items' in (pair.value as object))
        (pair.value as unknown as YAMLMap).flow = true;
    }
  };
  visit(document.contents as unknown as YAMLMap, '');
  return `${head.map((line) => `# ${line}`).join('\n')}\n${document.toString({ lineWidth: 120 })}`;
}
