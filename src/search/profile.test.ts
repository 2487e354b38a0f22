import { expect, it } from 'vitest';
import { Costs, type Limit, problemOf } from './network/costs.js';
import { profileLines, profileSpace, refuseImpossible, type SpaceProfile } from './profile.js';

function profileWith(limit: Partial<Limit>): SpaceProfile {
  const skeleton = { channels: 16, filters: [16, 32], strides: [1, 2], features: [], multiple: 16 };
  const frame = { skeleton, height: 16, width: 16, fixed: [] };
  const costs = new Costs(frame, [
    { cost: 'size', target: 'kirin9000', precision: 'fp16', min: null, max: null, ...limit },
  ]);
  return profileSpace(problemOf(frame, costs), costs, 1);
}

it('says what networks cost and how many keep a limit', () => {
  const profile = profileWith({ max: 20_000 });
  const [size] = profile.costs;
  expect(size!.min).toBeLessThan(size!.median);
  expect(size!.median).toBeLessThan(size!.max);
  expect(profile.kept).toBeGreaterThan(0.05);
  expect(profile.kept).toBeLessThan(1);
  expect(profileLines(profile).join('\n')).toContain('limit ≤ 20,000 keeps');
  expect(() => refuseImpossible(profile, 'scen.yaml')).not.toThrow();
});

it.each([
  [{ max: 100 }, /between/, /Change the limits/],
  [{ max: 0.4 }, /between/, /write 11\.4M/],
  [{ min: 1e9 }, /between/, /Change the limits/],
])('a limit that no network keeps is refused: %j', (limit, expected, advice) => {
  const profile = profileWith(limit);
  try {
    refuseImpossible(profile, 'scen.yaml');
    expect.unreachable();
  } catch (error) {
    expect(error).toMatchObject({ code: 'SEARCH_IMPOSSIBLE', expected: expect.stringMatching(expected) });
    expect((error as { suggestions: string[] }).suggestions.join('\n')).toMatch(advice);
  }
});
