import { join } from 'node:path';
import { type Bench, chooseProbeSamples, measure, readApplied, writeVariant } from '../analyze/bench.js';
import { withFloatWeights, withoutQuantizers } from '../analyze/instrument.js';
import { relativeNoise, weightProbeName } from '../analyze/probes.js';
import { soloProbes } from '../analyze/solo.js';
import { readNumbers } from '../analyze/subject.js';
import { deviceKey } from '../bridge/device.js';
import { type Goal, type PrecisionSearch, type PrecisionTry, trySchema } from '../config/precision.js';
import { writeSafetensors } from '../graph/safetensors.js';
import type { NativeCore } from '../native/index.js';
import { metricJob, type StageContext, warn } from '../quantize/context.js';
import { tensorsToObserve } from '../quantize/observe.js';
import { type OpenedModel, preparedWith } from '../quantize/open.js';
import { type Calibrated, type Quantized, quantizePlan } from '../quantize/pass.js';
import { valueTensors } from '../quantize/plan/integer-groups.js';
import { parameterRoots } from '../quantize/plan/precision.js';
import { publishModel } from '../quantize/publish.js';
import type { Prepared } from '../quantize/stages.js';
import { digestOf } from '../run/digest.js';
import { Journal } from '../run/journal.js';
import { targetProfile } from '../target/profiles.js';
import { type PlanCost, planCost } from './cost.js';
import { missedBy } from './goal.js';
import { type Step, searchWidths, type Wider, type Widths } from './search.js';
import { type Judge, openJudge } from './trial.js';

/** Samples that sensitivities are measured on. */
const PROBE_SAMPLES = 16;

/** Part of the layers that stay in integers at least: with less, the network is not quantized any more. */
const INTEGER_SHARE = 0.5;

/** Where tries are recorded, in the run folder. */
const JOURNAL = 'precision.ndjson';

/**
 * Finds the fewest, cheapest tensors that must be wider than 8 bits for a goal, and the model with them. The best model so
 * far always lies in the run folder under its final name; tries that an interrupted run has made are not made again.
 *
 * Every try runs the whole engine: what it solves for 8 bits makes up for the very errors that a wider tensor does not have.
 *
 * Rejects as the engine and verification do.
 */
export async function widenToGoal(
  context: StageContext,
  core: NativeCore,
  opened: OpenedModel,
  calibrated: Calibrated,
  goal: Goal,
): Promise<{ quantized: Quantized; search: PrecisionSearch }> {
  const { prepared, sets } = opened;
  const base = await quantizePlan(
    { ...context, run: context.run.variant('narrow') },
    core,
    prepared,
    calibrated,
  );
  const judge = await openJudge(context, opened, sets.tuning!);
  const cost = planCost(prepared.graph, prepared.options.target);
  const tries = new Tries(context, core, { base, calibrated, judge, cost, goal });
  const first = await tries.evaluate(new Map());
  const steps =
    first.missed <= 0 ? [] : await stepsFor(context, core, base, calibrated, tries, sets.tuning!.source);
  const { widths } = await searchWidths(steps, (asked) => tries.evaluate(asked));
  const chosen = tries.indexOf(widths);
  const quantized = await tries.finish(widths);
  const search: PrecisionSearch = {
    goal,
    metric: judge.metric,
    reached: missedBy(goal, tries.list[chosen]!) <= 0,
    samples: judge.samples,
    costUnit: cost.unit,
    tries: tries.list,
    chosen,
  };
  if (!search.reached)
    warn(
      context,
      'The goal of the precision search was not reached; the model that came nearest was written.',
    );
  return { quantized, search };
}

interface Scene {
  base: Quantized;
  calibrated: Calibrated;
  judge: Judge;
  cost: PlanCost;
  goal: Goal;
}

/** Tries models, remembers them, and keeps the best one written. */
class Tries {
  readonly list: PrecisionTry[] = [];
  private readonly journal: Journal<PrecisionTry>;
  private readonly scene: Scene;
  private best = Number.POSITIVE_INFINITY;

  constructor(
    private readonly context: StageContext,
    private readonly core: NativeCore,
    scene: Scene,
  ) {
    this.scene = scene;
    const path = join(context.run.folder, JOURNAL);
    this.journal = Journal.open(path, trySchema, !context.run.resumes);
  }

  /** The plan with some tensors wider; null where it would need what calibration has not seen. */
  prepare(widths: Widths): Prepared | null {
    const { base, calibrated } = this.scene;
    const { options, plan: _, ...captured } = base.prepared;
    const asked = (to: Wider): string[] =>
      [...widths].filter(([, wide]) => wide === to).map(([tensor]) => tensor);
    const precision = {
      int16: [...(options.precision?.int16 ?? []), ...asked('int16')],
      float: [...(options.precision?.float ?? []), ...asked('float')],
    };
    const prepared = preparedWith(captured, { ...options, precision });
    return tensorsToObserve(prepared.plan).every((tensor) => calibrated.observed.has(tensor))
      ? prepared
      : null;
  }

  costOf(prepared: Prepared): number {
    return this.scene.cost.of(prepared.plan);
  }

  async evaluate(widths: Widths) {
    const { base, judge, goal } = this.scene;
    const prepared = this.prepare(widths);
    // With most layers in float it is no quantized network any more: such a set is not tried.
    const layers = base.prepared.plan.weights.length;
    if (!prepared || prepared.plan.weights.length < layers * INTEGER_SHARE)
      return { missed: Number.POSITIVE_INFINITY, cost: Number.POSITIVE_INFINITY };
    const key = this.keyOf(widths);
    let found = this.journal.get(key);
    if (!found) {
      const { calibrated } = this.scene;
      const run = this.context.run.variant('try');
      const quantized =
        widths.size === 0
          ? base
          : await quantizePlan({ ...this.context, run }, this.core, prepared, calibrated);
      found = await this.scored(judge, prepared, quantized, widths);
      if (this.missed(found) < this.best) await publishModel(this.context.run, quantized);
      this.journal.record(key, found);
    }
    this.list.push(found);
    this.best = Math.min(this.best, this.missed(found));
    return { missed: missedBy(goal, found), cost: found.cost };
  }

  /** The model of a set that was tried, where the run's own stages lie. */
  finish(widths: Widths): Promise<Quantized> {
    return quantizePlan(this.context, this.core, this.prepare(widths)!, this.scene.calibrated);
  }

  indexOf(widths: Widths): number {
    const wanted = JSON.stringify(namesOf(widths));
    return this.list.findIndex(({ int16, float }) => JSON.stringify({ int16, float }) === wanted);
  }

  private missed(found: PrecisionTry): number {
    return missedBy(this.scene.goal, found);
  }

  private keyOf(widths: Widths): string {
    const { base, judge, goal } = this.scene;
    return digestOf({ base: base.digest, samples: judge.samples, goal: goal.kind, ...namesOf(widths) });
  }

  private async scored(judge: Judge, prepared: Prepared, quantized: Quantized, widths: Widths) {
    const { sqnr, drop } = await judge.score(quantized.path);
    return { ...namesOf(widths), sqnr, drop, cost: this.costOf(prepared) };
  }
}

function namesOf(widths: Widths): Pick<PrecisionTry, 'int16' | 'float'> {
  const of = (to: Wider): string[] =>
    [...widths]
      .filter(([, wide]) => wide === to)
      .map(([tensor]) => tensor)
      .sort();
  return { int16: of('int16'), float: of('float') };
}

/** What can be widened, with the noise that each tensor brings alone and the cost that it adds on the target. */
async function stepsFor(
  context: StageContext,
  core: NativeCore,
  base: Quantized,
  { source }: Calibrated,
  tries: Tries,
  tuning: Calibrated['source'],
): Promise<Step[]> {
  const { prepared } = base;
  const { plan, graph } = prepared;
  const noise = await soloNoise(context, core, base, tuning ?? source);
  const roots = parameterRoots(plan.activations);
  const narrow = tries.costOf(prepared);
  const int16 = targetProfile(plan.target).int16Activations;
  const candidates = plan.activations.filter(
    ({ tensor, format }) => roots.get(tensor) === tensor && format.bits === 8,
  );
  return candidates.flatMap(({ tensor }): Step[] => {
    const sharing = [...roots].filter(([, root]) => root === tensor).map(([sharer]) => sharer);
    const own = sharing.reduce((sum, sharer) => sum + (noise.get(sharer) ?? 0), 0);
    const readers = plan.groups.filter(
      (group) => group.quantized && valueTensors(graph, group).some((input) => sharing.includes(input)),
    );
    const weights = plan.weights
      .filter(({ node }) => readers.some(({ name }) => name === node))
      .reduce((sum, { node }) => sum + (noise.get(weightProbeName(node)) ?? 0), 0);
    const cost = (to: Wider): number | null => {
      const wider = tries.prepare(new Map([[tensor, to]]));
      return wider && Math.max(0, tries.costOf(wider) - narrow);
    };
    const [sixteen, float] = [int16 ? cost('int16') : null, cost('float')];
    const steps: Step[] = [];
    if (sixteen !== null) steps.push({ tensor, to: 'int16', relief: own, cost: sixteen });
    if (float !== null) {
      const relief = sixteen === null ? own + weights : weights;
      steps.push({ tensor, to: 'float', relief, cost: Math.max(float, sixteen ?? 0) });
    }
    return steps;
  });
}

/** The noise that each quantizer brings to the outputs alone, by the name of its probe. */
async function soloNoise(
  context: StageContext,
  core: NativeCore,
  base: Quantized,
  source: Calibrated['source'],
): Promise<Map<string, number>> {
  const { graph, plan, float, weights } = base.prepared;
  const key = { base: base.digest, source: { ...source, path: '' }, ...deviceKey(context.device) };
  const { value } = await context.run.stage('sensitivity', key, async (folder) => {
    const bench: Bench = { job: metricJob(context), folder, float, source, threads: context.threads };
    const parts = context.run.variant('narrow').stageFolder('apply');
    const parameters = join(parts, 'parameters.safetensors');
    const applied = readApplied(join(parts, 'rewrite.json'), parameters);
    const numbers = readNumbers(core, { graph, plan, weights, parameters });
    const values = join(folder, 'weights.safetensors');
    writeSafetensors(values, numbers.weights);
    const quantized = await writeVariant(bench, 'quantized', applied);
    const bare = withFloatWeights(
      withoutQuantizers(applied, () => true),
      numbers.layers,
    );
    const model = await writeVariant(bench, 'float', bare);
    const chosen = await chooseProbeSamples(bench, quantized, PROBE_SAMPLES);
    const { probes, outputs } = await measure({ ...bench, source: chosen.source }, 'each quantizer alone', {
      model,
      exact: false,
      quantized: null,
      probes: soloProbes({ graph, plan }, numbers),
      values,
    });
    return probes.map(
      ({ name, alternatives }) => [name, relativeNoise(outputs, alternatives[0]!.noise)] as const,
    );
  });
  return new Map(value);
}
