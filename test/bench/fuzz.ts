/**
 * Damaged files for every reader in TypeScript, and with --python for those in Python: `npm run fuzz -- [SECONDS] [--only NAME] [--python]`
 * (default 60 seconds a reader, of the processor). A reader gives a value or refuses with an error of its own within a second; anything else
 * is printed with the seed that makes it again, and ends with 1.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { childEnvironment } from '../../src/bridge/child-environment.js';
import { ensureEnvironment } from '../../src/bridge/environments.js';
import { ROOT } from '../helpers/cli.js';
import { fuzz, READERS } from '../helpers/fuzz.js';

const args = process.argv.slice(2);
const only = args.includes('--only') ? args[args.indexOf('--only') + 1] : undefined;
const seconds = Number(args.find((arg) => /^\d+$/.test(arg)) ?? 60);

for (const [name, reader] of Object.entries(READERS)) {
  if (only !== undefined && name !== only) continue;
  const { cases, read, failures } = await fuzz(reader, { seed: Date.now() >>> 0, cpuSeconds: seconds });
  console.log(`${name.padEnd(14)} ${cases} cases, ${read} read, ${failures.length} failures`);
  for (const { seed, what } of failures) console.log(`  seed ${seed}: ${what}`);
  if (failures.length > 0) process.exitCode = 1;
}

const SUITES = [
  ['onnx', 'test_fuzz_onnx.py'],
  ['onnx', 'test_fuzz_pictures.py'],
  ['onnx', 'plugin/test_plugin_fuzz.py'],
  ['torch', 'torch_weights/test_weights_fuzz.py'],
  ['torch', 'torch_llm/test_llm_fuzz.py'],
  ['tensorflow', 'tensorflow_door/test_door_fuzz.py'],
] as const;
if (args.includes('--python')) {
  for (const [profile, file] of SUITES) {
    const { python } = await ensureEnvironment(profile);
    const extra = {
      PYTHONPATH: join(ROOT, '.dopt/test-packages'),
      PYTHONDONTWRITEBYTECODE: '1',
      DOPT_FUZZ_SECONDS: String(seconds),
      DOPT_FUZZ_SEED: String(Date.now() % 1_000_000),
    };
    const pytest = ['-m', 'pytest', '-q', '-s', '-p', 'no:cacheprovider', `python/tests/${file}`];
    const { status } = spawnSync(python, pytest, {
      cwd: ROOT,
      stdio: 'inherit',
      env: childEnvironment({ extra }),
    });
    console.log(
      `${file}: seed ${extra.DOPT_FUZZ_SEED}, ${seconds} s a reader: ${status === 0 ? 'passed' : 'FAILED'}`,
    );
    if (status !== 0) process.exitCode = 1;
  }
}
