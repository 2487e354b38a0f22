import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { PRODUCT_ROOT } from '../child-environment.js';
import { PROFILE_SPECS } from '../profiles.js';
import { dockerfile, IMAGES, profileOf } from './dockerfile.js';

const read = (name: string): string => readFileSync(join(PRODUCT_ROOT, 'docker', name), 'utf8');

/** Instructions of a Dockerfile with continuation lines joined, by stage. */
function stagesOf(text: string): Map<string, { base: string; lines: string[] }> {
  const stages = new Map<string, { base: string; lines: string[] }>();
  const joined = text.replaceAll(/^#.*\n/gm, '').replaceAll(/\\\n/g, ' ');
  let lines: string[] = [];
  for (const line of joined.split('\n').filter((one) => one.trim() !== '')) {
    const from = /^FROM (\S+) AS (\S+)$/.exec(line);
    if (from) {
      lines = [];
      stages.set(from[2]!, { base: from[1]!, lines });
    } else lines.push(line);
  }
  return stages;
}

describe.each(IMAGES)('docker/%s.Dockerfile', (name) => {
  const text = dockerfile(name);
  const stages = stagesOf(text);

  it('is the one in docker/ (npm run dockerfiles writes it anew)', () => {
    expect(read(`${name}.Dockerfile`)).toBe(text);
  });

  it('starts from images that are pinned by digest', () => {
    const pinned = [...text.matchAll(/^ARG (\w+)=\S+@sha256:[0-9a-f]{64}$/gm)].map(([, arg]) => `\${${arg}}`);
    const bases = [...stages.values()].map(({ base }) => base).filter((base) => !stages.has(base));
    expect(new Set(bases)).toEqual(new Set(pinned));
  });

  it('installs what the lock of the profile names, by hash, for the Python of its base', () => {
    const { file, minor } = PROFILE_SPECS[profileOf(name)].locks[0]!;
    expect(text).toContain(`ARG LOCK=${file}\n`);
    expect(text).toContain(`PYTHON_BASE=python:${minor}-`);
    for (const line of text.split('\n').filter((one) => /pip\b.*install/.test(one))) {
      expect(line).toContain('--require-hashes');
    }
    for (const line of text.split('\n').filter((one) => /npm (ci|install)/.test(one)))
      expect(line).toMatch(/npm ci --ignore-scripts/);
  });

  it('has neither compilers nor installers of packages in what runs, and no root', () => {
    for (const final of ['stage', 'dopt']) {
      const lines = stages.get(final)!.lines;
      expect(lines.filter((line) => /^RUN|^ADD|https?:/.test(line))).toEqual([]);
    }
    expect(stages.get('dopt')!.base).toBe('stage');
    expect(stages.get('stage')!.lines).toContain('USER 10001:10001');
    expect([...stages.keys()].at(-1)).toBe('dopt');
  });

  it('dates what it makes, and keeps lists of packages out of layers', () => {
    for (const { lines } of stages.values()) {
      const runs = lines.filter((line) => line.startsWith('RUN'));
      if (runs.length === 0) continue;
      expect(lines).toContain('ARG SOURCE_DATE_EPOCH');
      expect(runs.at(-1)).toMatch(/touch --no-dereference --date=@\$\{SOURCE_DATE_EPOCH\}/);
      for (const line of runs.filter((one) => one.includes('apt-get'))) {
        expect(line).toMatch(/--no-install-recommends .*rm -rf \/var\/lib\/apt\/lists/);
      }
    }
  });
});

it('docker/compose.yaml has a service for each image, shut off like the stages', () => {
  const { services } = parse(read('compose.yaml'), { merge: true }) as {
    services: Record<string, Record<string, unknown>>;
  };
  expect(Object.keys(services)).toEqual(['onnx', 'torch', 'tensorflow', 'current', 'cuda']);
  expect(new Set(Object.keys(services))).toEqual(new Set(IMAGES));
  for (const [name, service] of Object.entries(services)) {
    expect(service).toMatchObject({
      read_only: true,
      network_mode: 'none',
      cap_drop: ['ALL'],
      build: { dockerfile: `docker/${name}.Dockerfile` },
    });
  }
});
