import { findReady } from './environments.js';
import type { Finding } from './finding.js';
import { type GpuState, gpuStates, noDriver } from './gpu.js';
import type { Places } from './interpreters.js';
import { PROFILE_SPECS, type Profile } from './profiles.js';

/** What a profile's packages say about GPUs; null for a profile that is not made. */
export type ProfileGpus = Record<string, GpuState> | null;

/** What `--device cuda` runs, with which packages: the first framework of a profile that has a GPU. */
const USES = [
  {
    name: '--device cuda: language models',
    profile: 'current',
    frameworks: ['torch'],
  },
  {
    name: '--device cuda: quantize, analyze',
    profile: 'current',
    frameworks: ['onnxruntime', 'torch'],
  },
  {
    name: '--device cuda: search in PyTorch',
    profile: 'torch',
    frameworks: ['torch'],
  },
  {
    name: '--device cuda: search in TensorFlow',
    profile: 'tensorflow',
    frameworks: ['tensorflow'],
  },
] as const satisfies { name: string; profile: Profile; frameworks: Parameters<typeof gpuStates>[1] }[];

/** Which GPU would be used for what, and why not, with the profiles that are made. */
export async function diagnoseUses(places: Places): Promise<Finding[]> {
  const reason = noDriver();
  if (reason !== null) return [withoutDriver(reason)];
  const asked = new Map<Profile, Promise<ProfileGpus>>();
  for (const { profile } of USES) if (!asked.has(profile)) asked.set(profile, askProfile(profile, places));
  return Promise.all(USES.map(async (use) => describeUse(use, await asked.get(use.profile)!)));
}

async function askProfile(profile: Profile, places: Places): Promise<ProfileGpus> {
  const ready = await findReady(profile, places.named);
  if (!ready) return null;
  const all = ['torch', 'onnxruntime', 'tensorflow'] as const;
  const used = all.filter((framework) =>
    USES.some((use) => use.profile === profile && (use.frameworks as readonly string[]).includes(framework)),
  );
  return gpuStates(ready, used).catch(() => null);
}

const withoutDriver = (reason: string): Finding => ({
  name: '--device cuda',
  status: 'ok',
  found: `refused for every command: ${reason}`,
  where: null,
  remedies: [],
});

/** What the doctor says of one use. Pure. */
export function describeUse(
  { name, profile, frameworks }: { name: string; profile: Profile; frameworks: readonly string[] },
  gpus: ProfileGpus,
): Finding {
  const finding = { name, where: null };
  if (gpus === null) {
    const modules = Object.values(PROFILE_SPECS[profile].modules).slice(0, 2).join(', ');
    const found = `profile ${profile} (${modules}, …) is not made yet; it would be asked`;
    return { ...finding, status: 'ok', found, remedies: [`Make it: dopt env create ${profile}`] };
  }
  const reasons: string[] = [];
  for (const framework of frameworks) {
    const { devices, reason, version } = gpus[framework]!;
    const usable = devices.flatMap((device, index) =>
      device.reason === null ? [`${index}: ${device.name}`] : [],
    );
    if (reason === null && usable.length > 0) {
      return {
        ...finding,
        status: 'ok',
        found: `${usable.join('; ')}, by ${framework} ${version}`,
        remedies: [],
      };
    }
    reasons.push(reason ?? devices.map((device) => device.reason).join('; '));
  }
  return {
    ...finding,
    status: 'warning',
    found: `refused: ${reasons.join('; ')}`,
    remedies: [
      profile === 'current'
        ? 'Update the NVIDIA driver, or use packages of your own: --env system'
        : 'Use newer packages (--profile current), or packages of your own: --env system',
    ],
  };
}
