import { join } from 'node:path';
import { z } from 'zod';
import { type EngineSettings, type Tuning, tuningTrySchema } from '../config/tuning.js';
import type { NativeCore } from '../native/index.js';
import { type Judge, openJudge } from '../precision/trial.js';
import { gainsByOutput, pairedGain } from '../quantize/algorithms/paired-gain.js';
import type { StageContext } from '../quantize/context.js';
import { equalize } from '../quantize/equalize/equalize.js';
import { type OpenedModel, preparedWith } from '../quantize/open.js';
import { type Calibrated, calibrate, quantizePlan } from '../quantize/pass.js';
import { publishModel } from '../quantize/publish.js';
import type { Prepared } from '../quantize/stages.js';
import { digestOf } from '../run/digest.js';
import { Journal } from '../run/journal.js';
import { withSettings } from './settings.js';

/** Where tries are recorded, in the run folder. */
const JOURNAL = 'tuning.ndjson';

/** Decibels that are no gain: the same settings on other samples differ by about as much. */
const MARGIN = 0.1;

/** Standard errors that a gain must be. */
const SURE = 2;

/** A try with what each sample has of its signal and noise, by sample and output. */
const triedSchema = tuningTrySchema.extend({
  signal: z.array(z.array(z.number())),
  noise: z.array(z.array(z.number())),
});

/** Settings that were tried, with all that a comparison needs. */
export type Tried = z.infer<typeof triedSchema>;

/**
 * Whether a makes less noise than b and harms no output: a gain over all outputs, sample by sample, of more than `MARGIN`
 * and twice its standard error, and no output that loses more than the standard error of its own. Settings that trade one
 * output for another gain nothing that is known to last on other data.
 */
export function surelyBetter(a: Pick<Tried, 'signal' | 'noise'>, b: Pick<Tried, 'noise'>): boolean {
  const { mean, standardError } = pairedGain(a.signal, b.noise, a.noise);
  const outputs = gainsByOutput(a.signal, b.noise, a.noise);
  return (
    mean > MARGIN &&
    mean >= SURE * standardError &&
    outputs.every((output) => output.mean >= -output.standardError)
  );
}

/** How many tries there may be, and seconds for them; what is null has no bound. */
export interface Bounds {
  budget: number | null;
  tries: number | null;
}

/**
 * Tries settings, remembers them, and keeps the model of the best ones written under its final name. What an interrupted
 * run has tried is not tried again, and its time counts.
 */
export class Tries {
  readonly list: Tried[] = [];
  private readonly journal: Journal<Tried>;
  private best: Tried | null = null;
  /** Stages of the whole run, which tries with the same quantizers as the first take over. */
  private shared: Promise<unknown> | null = null;

  private constructor(
    private readonly context: StageContext,
    private readonly core: NativeCore,
    private readonly opened: OpenedModel,
    private readonly judge: Judge,
    private readonly by: Tuning['by'],
    private readonly bounds: Bounds,
  ) {
    const path = join(context.run.folder, JOURNAL);
    this.journal = Journal.open(path, triedSchema, !context.run.resumes);
  }

  /** Prepares the samples that decide. */
  static async open(
    context: StageContext,
    core: NativeCore,
    opened: OpenedModel,
    by: Tuning['by'],
    bounds: Bounds,
  ): Promise<Tries> {
    const judge = await openJudge(context, opened, opened.sets.tuning!);
    return new Tries(context, core, opened, judge, by, bounds);
  }

  /** What settings come to; null when the time for tries is over. */
  async evaluate(settings: EngineSettings): Promise<Tried | null> {
    if (this.list.length > 0 && this.isOver()) return null;
    const key = this.keyOf(settings);
    let found = this.journal.get(key);
    if (!found) {
      found = await this.make(settings);
      this.journal.record(key, found);
    }
    this.list.push(found);
    if (this.best === null || this.better(found, this.best)) this.best = found;
    return found;
  }

  /** Whether a is better than b by more than noise. */
  better(a: Tried, b: Tried): boolean {
    if (this.by === 'metric' && a.drop !== null && b.drop !== null && a.drop !== b.drop)
      return a.drop < b.drop;
    return surelyBetter(a, b);
  }

  /** What was tried, for the result. */
  summary(settings: EngineSettings): Tuning {
    const wanted = JSON.stringify(settings);
    return {
      by: this.by,
      metric: this.judge.metric,
      samples: this.judge.samples,
      budget: this.bounds.budget,
      tries: this.list.map(({ signal: _, noise: __, ...shown }) => shown),
      chosen: this.list.findIndex((one) => JSON.stringify(one.settings) === wanted),
    };
  }

  /** Whether another try, and the model from all samples at the end, would take longer than there is time. */
  private isOver(): boolean {
    const { budget, tries } = this.bounds;
    if (tries !== null && this.list.length >= tries) return true;
    const seconds = this.list.map((one) => one.seconds);
    const spent = seconds.reduce((a, b) => a + b, 0);
    return budget !== null && spent + 2 * Math.max(...seconds) > budget;
  }

  private async make(settings: EngineSettings): Promise<Tried> {
    const started = performance.now();
    const { options, plan: _, ...captured } = this.opened.prepared;
    const prepared = preparedWith(captured, withSettings(options, settings));
    this.shared ??= this.calibrated(this.context, this.opened);
    await this.shared;
    const context = { ...this.context, run: this.context.run.variant('try') };
    const [equalized, calibrated] = await this.calibrated(context, { ...this.opened, prepared });
    const quantized = await quantizePlan(context, this.core, equalized, calibrated);
    const { sqnr, drop, energies } = await this.judge.score(quantized.path);
    const found = { settings, sqnr, drop, seconds: (performance.now() - started) / 1000, ...energies };
    if (this.best === null || this.better(found, this.best)) await publishModel(this.context.run, quantized);
    return found;
  }

  private async calibrated(context: StageContext, opened: OpenedModel): Promise<[Prepared, Calibrated]> {
    const { prepared, sets } = await equalize(context, this.core, opened);
    return [prepared, await calibrate(context, prepared, sets.calibration)];
  }

  private keyOf(settings: EngineSettings): string {
    const { prepared, sets } = this.opened;
    const { captured, options } = prepared;
    const { target, strategy, exclude, precision, samples, seed } = options;
    const { sha256 } = sets.calibration.listing;
    return digestOf({
      settings,
      captured,
      asked: { target, strategy, exclude, precision, samples, seed },
      data: { sha256, tuning: sets.tuning!.source.indices, preprocess: options.preprocess },
      metric: options.metric,
    });
  }
}
