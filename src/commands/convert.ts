import { resolve } from 'node:path';
import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../cli/base-command.js';
import { runtimeFlags } from '../cli/flags.js';
import { parseInputShapes, parseList } from '../cli/parse.js';
import type { Conversion } from '../convert/convert.js';

export default class Convert extends BaseCommand {
  static override summary = "check a model for the device converter and print the converter's command line";
  static override description =
    'The converter (omg) belongs to the DDK of the phone maker and is not part of dopt. Its quantized conversion needs ' +
    'the encrypted parameter file of the original tool; what is possible without it is printed. See docs/export.md.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> runs/net',
    '<%= config.bin %> <%= command.id %> runs/net --compress-conf net_param --platform kirin9020 --run',
  ];
  static override args = {
    source: Args.string({ required: true, description: 'run folder, ONNX file or frozen TensorFlow graph' }),
  };
  static override flags = {
    run: Flags.boolean({ default: false, description: 'run the converter, too' }),
    name: Flags.string({ description: "result without ending (default: the model's name)" }),
    platform: Flags.string({ description: "chip, as the converter's --platform takes it" }),
    weight: Flags.string({ description: "file for the converter's --weight" }),
    'compress-conf': Flags.string({ description: 'parameter file that the original tool wrote' }),
    'input-shape': Flags.string({ description: 'fixed input shapes, "x:1,3,224,224"' }),
    outputs: Flags.string({ multiple: true, description: "outputs to keep (default: the model's)" }),
    env: runtimeFlags.env,
  };

  async run(): Promise<Conversion> {
    const { args, flags } = await this.parse(Convert);
    const { convert } = await import('../convert/convert.js');
    const path = (value: string | undefined): string | null => (value === undefined ? null : resolve(value));
    const outputs = parseList(flags.outputs);
    const conversion = await convert({
      source: resolve(args.source),
      name: flags.name ?? null,
      platform: flags.platform ?? null,
      weight: path(flags.weight),
      compressConf: path(flags['compress-conf']),
      inputShapes: parseInputShapes(flags['input-shape']),
      outputs: outputs.length > 0 ? outputs : null,
      execute: flags.run,
      environment: flags.env as 'venv',
      progress: this.progressFor(flags),
      signal: this.signal,
      onOutput: (chunk) => void process.stderr.write(chunk),
    });
    for (const command of conversion.commands) this.log(command);
    if (conversion.result) this.log(`made ${conversion.result}`);
    if (!flags.quiet) for (const note of conversion.notes) this.logToStderr(`  note: ${note}`);
    return conversion;
  }
}
