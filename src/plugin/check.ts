import { existsSync } from 'node:fs';
import { ensureEnvironment } from '../bridge/environments.js';
import { runJob } from '../bridge/jobs.js';
import type { EnvironmentKind, PluginProfile } from '../bridge/profiles.js';
import type { Result } from '../bridge/protocol.js';
import { UserError } from '../errors.js';

export type PluginCheck = Result<'pluginCheck'>;

export interface PluginCheckOptions {
  /** The training program; an absolute path. */
  script: string;
  arguments: string[];
  /** Calls of a quantized network after which the program is stopped. */
  steps: number;
  profile: PluginProfile;
  environment: EnvironmentKind;
  signal?: AbortSignal;
  onNote?: (line: string) => void;
}

/**
 * Runs a project that uses the training plug-in for a few steps, and tells what became of its networks.
 * @throws UserError PLUGIN_SCRIPT_NOT_FOUND, and what the plug-in or the program fails with
 */
export async function checkProject(options: PluginCheckOptions): Promise<PluginCheck> {
  const { script, steps, signal, onNote } = options;
  if (!existsSync(script)) {
    throw new UserError('PLUGIN_SCRIPT_NOT_FOUND', `There is no ${script}.`, {
      place: script,
      suggestions: ['Name the Python file that trains or calibrates the network.'],
    });
  }
  const environment = await ensureEnvironment(options.profile, options.environment, {
    onProgress: (line) => onNote?.(line),
  });
  const params = { script, arguments: options.arguments, steps };
  return await runJob(environment, 'pluginCheck', params, signal ? { signal } : {});
}

/** The result in words. */
export function describeCheck({ networks, steps, ended, warnings }: PluginCheck): string {
  const lines = networks.flatMap(({ network, captured, float }) => [
    `${network}: ${Object.keys(captured).length} quantized, ${float.length} left in float`,
    ...Object.entries(captured).map(([name, kind]) => `  ${name}  ${kind}`),
    ...float.map(({ name, op_type, reason }) => `  ${name}  float (${op_type}): ${reason}`),
  ]);
  return [
    ...(networks.length > 0 ? lines : ['The program quantizes no network.']),
    ...warnings.map((warning) => `warning: ${warning}`),
    `${steps} calls of quantized networks; the program ${ended === 'stopped' ? 'was stopped there' : `ended (${ended})`}.`,
  ].join('\n');
}
