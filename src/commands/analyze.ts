import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import * as Args from '@oclif/core/args';
import * as Flags from '@oclif/core/flags';
import { BaseCommand } from '../cli/base-command.js';
import { gpusFrom } from '../cli/flags.js';
import { quantizeFlags, quantizeOptions } from '../cli/quantize-flags.js';
import type { Analysis } from '../config/analysis.js';
import { EXIT, UserError } from '../errors.js';
import { nearPaths } from '../graph/near-paths.js';

const { data, out, ...others } = quantizeFlags;

export default class Analyze extends BaseCommand {
  static override summary = 'find out which tensors lose accuracy, and what would help';
  static override description =
    'Measures what each quantizer does alone and together with those before it, at the outputs of the network and of the ' +
    'layers that read it; tries int16, other ranges and scales a channel on those to blame most; and says how values are ' +
    'distributed. Takes a finished run, or a model that it quantizes first with the flags of quantize.';
  static override examples = [
    '<%= config.bin %> <%= command.id %> runs/net',
    '<%= config.bin %> <%= command.id %> net.onnx --recipe mobilenet --data pictures/ --out runs/analyzed',
  ];
  static override args = {
    source: Args.string({ required: true, description: 'folder of a finished run, or a model file' }),
  };
  static override flags = {
    ...others,
    data: Flags.string({ description: 'calibration data, for a model', helpGroup: 'DATA' }),
    out: Flags.string({ description: 'run folder for a model (default: none is kept)', helpGroup: 'RUN' }),
    'probe-samples': Flags.integer({
      min: 1,
      default: 16,
      description: 'samples that errors are measured on: those with the largest errors, and others',
      helpGroup: 'ANALYSIS',
    }),
    top: Flags.integer({
      min: 1,
      default: 12,
      description: 'quantizers to show, and to try remedies for',
      helpGroup: 'ANALYSIS',
    }),
  };

  async run(): Promise<Analysis> {
    const { args, flags } = await this.parse(Analyze);
    const { analyzeRun } = await import('../analyze/analyze.js');
    const { analysisTable } = await import('../analyze/table.js');
    const context = { progress: this.progressFor(flags), signal: this.signal };
    const isRun = existsSync(join(args.source, 'manifest.json'));
    const scratch =
      isRun || flags.out !== undefined ? null : mkdtempSync(join(tmpdir(), 'dopt-analyze-run-'));
    const folder = scratch ?? resolve(isRun ? args.source : flags.out!);
    try {
      if (!isRun) {
        const { quantize } = await import('../quantize/quantize.js');
        const command = ['dopt', 'analyze', ...this.argv];
        const options = await quantizeOptions(args.source, {
          ...flags,
          data: dataOf(args.source, flags.data),
          out: folder,
        });
        await quantize(options, { ...context, command });
      }
      const analysis = await analyzeRun(
        {
          run: folder,
          samples: flags['probe-samples'],
          profiled: PROFILED,
          remedies: flags.top,
          threads: flags.threads ?? availableParallelism(),
          gpus: gpusFrom(flags),
          environment: flags.env as 'venv',
        },
        context,
      );
      this.log(analysisTable(analysis, flags.top));
      return analysis;
    } finally {
      if (scratch) rmSync(scratch, { recursive: true, force: true });
    }
  }
}

/** Samples that distributions are gathered over at most. */
const PROFILED = 64;

function dataOf(source: string, data: string | undefined): string {
  if (data !== undefined) return data;
  if (!existsSync(source)) {
    throw new UserError('ANALYZE_SOURCE', `${source} does not exist.`, {
      place: source,
      expected: 'the folder of a finished run, or a model file with --data',
      suggestions: [...nearPaths(source), 'List the runs below this folder with: dopt runs list'],
    });
  }
  throw new UserError('USAGE', 'A model needs data to be analyzed with.', {
    exitCode: EXIT.usage,
    suggestions: [
      'Give samples: --data DIR',
      'Or name the folder of a finished run in the place of the model.',
    ],
  });
}
