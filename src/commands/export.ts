import { resolve } from 'node:path';
import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../cli/base-command.js';
import { runtimeFlags } from '../cli/flags.js';
import type { ExportResult } from '../export/export.js';

export default class Export extends BaseCommand {
  static override summary = 'write the result of a run in another format';
  static override description =
    'Formats: float-onnx (weights on their grid, no quantizers), qdq-onnx, qoperator-onnx (integer operators), ' +
    'amct-record, ascend-deploy-onnx, aimet-encodings, json. What a format cannot carry is said. See docs/export.md.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> runs/net --to float-onnx --out net.float.onnx',
    '<%= config.bin %> <%= command.id %> runs/net --to aimet-encodings --encodings-version 0.6.1 --out net.encodings',
  ];
  static override args = { run: Args.string({ required: true, description: 'folder of a finished run' }) };
  static override flags = {
    to: Flags.string({ required: true, description: 'format to write' }),
    out: Flags.string({ required: true, description: 'file to write; must not exist' }),
    'encodings-version': Flags.string({
      description: 'of aimet-encodings: 0.6.1 or 1.0.0 (default: 1.0.0)',
    }),
    env: runtimeFlags.env,
  };

  async run(): Promise<ExportResult> {
    const { args, flags } = await this.parse(Export);
    const { exportRun } = await import('../export/export.js');
    const version = flags['encodings-version'];
    const result = await exportRun({
      run: resolve(args.run),
      format: flags.to,
      out: resolve(flags.out),
      environment: flags.env as 'venv',
      ...(version === undefined ? {} : { encodingsVersion: version }),
      progress: this.progressFor(flags),
      signal: this.signal,
    });
    for (const { path, bytes } of result.files) this.log(`${path}  ${bytes} bytes`);
    return result;
  }
}
