import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import * as Flags from '@oclif/core/flags';
import { TORCH_PROFILES, type TorchProfile } from '../bridge/profiles.js';
import { deviceFlags, gpusFrom, runtimeFlags, targetFlag } from './flags.js';

/** Flags of all commands about a scenario. */
export const searchFlags = {
  config: Flags.string({
    char: 'c',
    default: 'scen.yaml',
    description: 'scenario; user_module.py lies beside it',
  }),
  target: targetFlag({ description: 'device of limits that name none (dopt target list)' }),
  out: Flags.string({ description: 'folder for results (default: that of the scenario)' }),
  profile: Flags.string({
    options: [...TORCH_PROFILES],
    default: 'torch',
    description: 'packages that train networks in PyTorch',
    helpGroup: 'RUN',
  }),
  ...runtimeFlags,
  ...deviceFlags,
  device: Flags.string({
    options: ['cpu', 'cuda'],
    description: "what trains: the processor, or an NVIDIA GPU (default: the scenario's gpu_id)",
    helpGroup: 'RUN',
  }),
};

/** What the services take of them. */
export const searchOptions = (flags: {
  config: string;
  target: string;
  out?: string | undefined;
  profile: string;
  env: string;
  threads?: number | undefined;
  device?: string | undefined;
  'device-index'?: number[] | undefined;
}) => ({
  scenario: resolve(flags.config),
  target: flags.target,
  out: resolve(flags.out ?? resolve(flags.config, '..')),
  profile: flags.profile as TorchProfile,
  environment: flags.env as 'venv',
  threads: flags.threads ?? availableParallelism(),
  gpus: gpusInPlace(flags),
});

/** GPUs in the place of the scenario's; null where no device was asked for. @throws UserError USAGE */
function gpusInPlace(flags: Parameters<typeof gpusFrom>[0]): number[] | null {
  return gpusFrom(flags) ?? (flags.device === 'cpu' ? [] : null);
}
