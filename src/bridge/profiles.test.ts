import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { environmentDigest, lockPath, minorOf, PROFILE_SPECS, PROFILES } from './profiles.js';

const locks = PROFILES.flatMap((profile) => PROFILE_SPECS[profile].locks);

/** `name==version` of every requirement, with the number of hashes that follow it. */
function requirements(text: string): Map<string, number> {
  const found = new Map<string, number>();
  let name = '';
  for (const line of text.split('\n')) {
    const pin = /^([a-z0-9-]+==[^ ]+)( \\)?$/.exec(line);
    if (pin) {
      name = pin[1]!;
      found.set(name, 0);
    } else if (/^ {4}--hash=sha256:[0-9a-f]{64}( \\)?$/.test(line)) {
      found.set(name, found.get(name)! + 1);
    } else if (line !== '' && !line.startsWith('#')) {
      throw new Error(`not a pin, a hash or a comment: ${line}`);
    }
  }
  return found;
}

describe.each(locks)('the lock file $file', (lock) => {
  const pins = requirements(readFileSync(lockPath(lock), 'utf8'));
  const asked = requirements(readFileSync(lockPath(lock).replace(/\.txt$/, '.in'), 'utf8'));

  it('pins every package by hash', () => {
    expect(pins.size).toBeGreaterThan(5);
    for (const [name, hashes] of pins) expect(hashes, name).toBeGreaterThan(0);
  });

  it('holds what its .in file asks for', () => {
    expect(asked.size).toBeGreaterThan(3);
    for (const name of asked.keys()) expect([...pins.keys()]).toContain(name);
  });
});

describe('environmentDigest', () => {
  it('differs by interpreter version and by lock file', async () => {
    const [one, other] = PROFILE_SPECS.onnx.locks;
    const digests = [
      await environmentDigest(one!, '3.10.1'),
      await environmentDigest(one!, '3.10.2'),
      await environmentDigest(other!, '3.10.1'),
    ];
    expect(new Set(digests).size).toBe(3);
    expect(digests[0]).toMatch(/^[0-9a-f]{12}$/);
    expect(await environmentDigest(one!, '3.10.1')).toBe(digests[0]);
  });
});

describe('minorOf', () => {
  it('cuts the patch number off', () => expect(minorOf('3.10.13')).toBe('3.10'));
});
