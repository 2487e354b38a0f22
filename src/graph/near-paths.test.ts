import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { nearPaths } from './near-paths.js';

it('names the file that was meant, where its folder has one', () => {
  const folder = mkdtempSync(join(tmpdir(), 'dopt-near-'));
  writeFileSync(join(folder, 'net.recipe.yaml'), '');
  expect(nearPaths(join(folder, 'net.recipe.yml'))).toEqual([
    `Did you mean ${join(folder, 'net.recipe.yaml')}?`,
  ]);
  expect(nearPaths(join(folder, 'pictures'))).toEqual([]);
  expect(nearPaths(join(folder, 'nowhere/net.onnx'))).toEqual([]);
  rmSync(folder, { recursive: true });
});
