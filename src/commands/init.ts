import { resolve } from 'node:path';
import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../cli/base-command.js';
import { modelFlags, modelFrom, runtimeFlags, targetFlag } from '../cli/flags.js';
import type { Init as Initialized } from '../init/init.js';

export default class Init extends BaseCommand {
  static override summary = 'look at a model and write a recipe for it';
  static override description =
    "Recognizes the family of a network by its outputs, its file's name and its operators, takes the nearest recipe, fits it to " +
    'the inputs and outputs, asks what no file says (order of colours, mean and deviation), and writes it with comments.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> net.onnx',
    '<%= config.bin %> <%= command.id %> net.py --weights net.pth --input-shape "x:1,3,224,224" --yes --out net.yaml',
  ];
  static override args = {
    model: Args.string({ required: true, description: 'model file, as for quantize' }),
  };
  static override flags = {
    yes: Flags.boolean({ char: 'y', default: false, description: 'ask nothing, take what is most likely' }),
    recipe: Flags.string({ description: 'begin with this recipe (default: the nearest one)' }),
    out: Flags.string({ description: 'file to write (default: MODEL.recipe.yaml here)' }),
    data: Flags.string({ description: 'calibration data, for the command that is printed' }),
    target: targetFlag({ description: 'device, for the command that is printed' }),
    ...modelFlags,
    'float16-to-float32': Flags.boolean({ default: false, description: 'convert a float16 model first' }),
    env: runtimeFlags.env,
  };

  async run(): Promise<Initialized> {
    const { args, flags } = await this.parse(Init);
    const { describeInit, initRecipe, usualPlace } = await import('../init/init.js');
    const { askNobody, askPeople } = await import('../init/questions.js');
    const people =
      flags.yes || this.jsonEnabled()
        ? null
        : askPeople(process.stdin, (line) => process.stderr.write(`${line}\n`));
    const made = await initRecipe({
      ...modelFrom(args.model, flags),
      float16ToFloat32: flags['float16-to-float32'],
      recipe: flags.recipe ?? null,
      out: flags.out === undefined ? usualPlace(args.model) : resolve(flags.out),
      data: flags.data ?? null,
      target: flags.target,
      ask: people?.ask ?? askNobody,
      environment: flags.env as 'venv',
      progress: this.progressFor(flags),
      signal: this.signal,
    }).finally(() => people?.close());
    this.log(describeInit(made));
    return made;
  }
}
