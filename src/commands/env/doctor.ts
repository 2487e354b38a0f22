import { Command } from '@oclif/core/command';
import { type Diagnosis, diagnose } from '../../bridge/doctor.js';
import type { Finding } from '../../bridge/finding.js';
import { EXIT } from '../../errors.js';

const MARKS: Record<Finding['status'], string> = { ok: 'ok     ', warning: 'warning', missing: 'MISSING' };

export default class EnvDoctor extends Command {
  static override enableJsonFlag = true;
  static override summary = 'check Node, compiler, native core and Python environments';
  static override description =
    'Says for each what was found and where, or why not and what to do. Exits with 4 when a profile cannot be had.';
  static override examples = [
    '<%= config.bin %> <%= command.id %>',
    '<%= config.bin %> <%= command.id %> --json',
  ];

  async run(): Promise<Diagnosis> {
    await this.parse(EnvDoctor);
    const diagnosis = await diagnose();
    for (const { name, status, found, where, remedies } of diagnosis.findings) {
      this.log(`${MARKS[status]}  ${name}: ${found.replaceAll('\n', '\n         ')}`);
      if (where !== null) this.log(`         at ${where}`);
      for (const remedy of remedies) this.log(`         > ${remedy}`);
    }
    // Set, not thrown: the findings are the result, with --json too.
    if (!diagnosis.ok) process.exitCode = EXIT.environment;
    return diagnosis;
  }
}
