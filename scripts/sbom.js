#!/usr/bin/env node
// The bill of materials: every package that dopt installs or asks pip for, with version, digests and licence, as CycloneDX 1.5 on
// standard output: `npm run -s sbom > sbom.json`. Fails when a licence is unknown or not in LICENCES, so does `npm run -s sbom -- --check`,
// which prints nothing else.
//
// Node packages come from package-lock.json, Python packages from the locks in python/requirements; their licences stand in
// python-licences.json, as each package's own metadata has them.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const read = (...parts) => readFileSync(join(root, ...parts), 'utf8');

/**
 * Licences that a part of dopt may have. MPL-2.0 asks for nothing while its files are not changed. NVIDIA's libraries are fetched by
 * the user's pip, as PyTorch asks for them, and never handed on by us.
 */
const LICENCES = new Set([
  ...[
    '0BSD',
    'Apache-2.0',
    'Apache-2.0 WITH LLVM-exception',
    'BSD-2-Clause',
    'BSD-3-Clause',
    'BSL-1.0',
    'CC0-1.0',
    'CNRI-Python',
  ],
  ...[
    'BlueOak-1.0.0',
    'ISC',
    'MIT',
    'MIT-0',
    'MIT-CMU',
    'MPL-2.0',
    'PSF-2.0',
    'Python-2.0',
    'Unlicense',
    'Zlib',
    'WTFPL',
  ],
  'LicenseRef-NVIDIA-Proprietary',
]);

/** Packages of npm whose package.json names no licence: by the LICENSE file in them. */
const BY_FILE = { pythonia: 'MIT' };

/** What is wrong with an SPDX expression; null for one whose every AND part has an allowed choice. */
export function licenceProblem(expression) {
  if (!expression) return 'no licence';
  const parts = expression.replaceAll(/[()]/g, '').split(' AND ');
  const wrong = parts.find((part) => !part.split(' OR ').some((one) => LICENCES.has(one.trim())));
  return wrong === undefined ? null : wrong.trim();
}

function nodeComponents() {
  const { packages } = JSON.parse(read('package-lock.json'));
  return Object.entries(packages)
    .filter(([path, { dev, devOptional }]) => path !== '' && !dev && !devOptional)
    .map(([path, { version, integrity, license, optional }]) => {
      const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
      const [algorithm, digest] = (integrity ?? '').split(/-(.*)/s);
      const hashes = digest
        ? [{ alg: algorithm.replace('sha', 'SHA-'), content: Buffer.from(digest, 'base64').toString('hex') }]
        : [];
      const purl = `pkg:npm/${name.replace('@', '%40')}@${version}`;
      return component({
        name,
        version,
        purl,
        licence: license ?? BY_FILE[name] ?? '',
        hashes,
        scope: optional ? 'optional' : 'required',
      });
    });
}

function pythonComponents() {
  const licences = JSON.parse(read('scripts', 'python-licences.json'));
  const found = new Map();
  const locks = readdirSync(join(root, 'python/requirements')).filter((name) =>
    /^(?!test).*\.txt$/.test(name),
  );
  for (const lock of locks) {
    const text = read('python/requirements', lock).replaceAll('\\\n', ' ');
    for (const [, name, version, rest] of text.matchAll(/^([\w.-]+)==(\S+)(.*)$/gm)) {
      const key = name.toLowerCase().replaceAll(/[_.]/g, '-');
      const hashes = [...rest.matchAll(/sha256:([0-9a-f]{64})/g)].map(([, content]) => ({
        alg: 'SHA-256',
        content,
      }));
      const purl = `pkg:pypi/${key}@${version}`;
      found.set(
        purl,
        component({ name: key, version, purl, licence: licences[key] ?? '', hashes, scope: 'optional' }),
      );
    }
  }
  return [...found.values()];
}

const component = ({ name, version, purl, licence, hashes, scope }) => ({
  type: 'library',
  'bom-ref': purl,
  name,
  version,
  scope,
  purl,
  licenses: [{ expression: licence }],
  ...(hashes.length > 0 ? { hashes } : {}),
});

/** Every package, by purl, each once. */
export function components() {
  const all = [...nodeComponents(), ...pythonComponents()];
  const byPurl = new Map(all.map((one) => [one.purl, one]));
  return [...byPurl.values()].sort((a, b) => (a.purl < b.purl ? -1 : 1));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { name, version, license } = JSON.parse(read('package.json'));
  const list = components();
  for (const { purl, licenses } of list) {
    const problem = licenceProblem(licenses[0].expression);
    if (problem === null) continue;
    console.error(`${purl}: ${problem}`);
    process.exitCode = 1;
  }
  const bom = {
    bomFormat: 'CycloneDX',
    specVersion: '1.5',
    version: 1,
    metadata: { component: { type: 'application', name, version, licenses: [{ license: { id: license } }] } },
    components: list,
  };
  if (!process.argv.includes('--check')) console.log(JSON.stringify(bom, null, 1));
}
