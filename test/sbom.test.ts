import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT } from './helpers/cli.js';

const { components, licenceProblem } = (await import(join(ROOT, 'scripts/sbom.js'))) as {
  components(): { purl: string; licenses: { expression: string }[]; hashes?: unknown[] }[];
  licenceProblem(expression: string): string | null;
};

describe('the bill of materials', () => {
  const list = components();

  it('has every locked package, each with a digest', () => {
    const onnx = readFileSync(join(ROOT, 'python/requirements/onnx.txt'), 'utf8');
    const purls = new Set(list.map(({ purl }) => purl));
    for (const [, name, version] of onnx.matchAll(/^([\w.-]+)==(\S+)/gm))
      expect(purls).toContain(`pkg:pypi/${name}@${version}`);
    for (const name of Object.keys(
      JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).dependencies,
    )) {
      expect(
        [...purls].some((purl) => purl.startsWith(`pkg:npm/${name.replace('@', '%40')}@`)),
        name,
      ).toBe(true);
    }
    expect(list.filter(({ hashes }) => !hashes).map(({ purl }) => purl)).toEqual([]);
    expect(readdirSync(join(ROOT, 'python/requirements')).length).toBeGreaterThan(8);
  });

  it('has no licence that is not allowed', () => {
    const wrong = list.flatMap(({ purl, licenses }) =>
      licenceProblem(licenses[0]!.expression) === null ? [] : [purl],
    );
    expect(wrong).toEqual([]);
  });
});

it.each([
  ['MIT', null],
  ['GPL-3.0-only OR MIT', null],
  ['(MIT AND BSD-3-Clause)', null],
  ['GPL-3.0-only', 'GPL-3.0-only'],
  ['MIT AND AGPL-3.0-or-later', 'AGPL-3.0-or-later'],
  ['SEE LICENSE IN LICENSE.md', 'SEE LICENSE IN LICENSE.md'],
  ['', 'no licence'],
])('%s: %s', (expression, problem) => expect(licenceProblem(expression)).toBe(problem));
