import { existsSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { LLM_FORMATS } from '../bridge/protocol-llm.js';
import type { LlmCoverage } from '../config/llm-result.js';
import { UserError } from '../errors.js';
import { nearPaths } from '../graph/near-paths.js';
import { type StageContext, stageJob, warn } from '../quantize/context.js';
import { bytes, count } from '../report/format.js';
import { VERSION } from '../version.js';
import { widenWithin } from './bits-budget.js';
import { coverage } from './coverage.js';
import { type CalibrationSize, usualCalibration } from './estimate.js';
import { type LayerPlan, type LlmInspection, planLayers } from './layer-plan.js';
import { requireMemory } from './memory.js';
import type { LlmOptions } from './options.js';
import { sensitivityOf } from './sensitivity.js';
import { calibrationSize, checkTextFiles, countedText, isTokens } from './text.js';

/** A model looked at, with the width of every layer decided. */
export interface OpenedLlm {
  name: string;
  model: LlmInspection;
  plan: LayerPlan;
  coverage: LlmCoverage;
  size: CalibrationSize;
}

/** Fewer of either make ranges and sums that other text exceeds. */
const FEW = { samples: 64, length: 256 };
/** Share of the decoder's weights that must become integers, unless layers were asked to stay float. */
const LEAST_COVERED = 0.99;

/** @throws UserError LLM_MODEL_NOT_FOUND for a folder that is none of transformers' */
export function checkModelFolder(folder: string): void {
  const found = statSync(folder, { throwIfNoEntry: false });
  if (found?.isDirectory() && existsSync(join(folder, 'config.json'))) return;
  const what = !found ? 'does not exist' : found.isDirectory() ? 'has no config.json' : 'is a file';
  throw new UserError('LLM_MODEL_NOT_FOUND', `The model folder ${folder} ${what}.`, {
    place: folder,
    expected: 'a folder as transformers saves it: config.json, *.safetensors, tokenizer',
    suggestions: [
      ...(found ? [] : nearPaths(folder)),
      'Give the folder of a language model that was downloaded or saved with save_pretrained().',
    ],
  });
}

/** What a model is, without its weights. Rejects as the Python method `llmInspect` does. */
function inspectModel(context: StageContext, options: LlmOptions): Promise<LlmInspection> {
  const { model, trustRemoteCode } = options;
  const text = countedText(options.calibration);
  return stageJob(context, 'inspect', 'llmInspect', { model, trustRemoteCode, text }, (found) =>
    [found.architecture, `${found.blocks} blocks`, `${count(found.parameters)} parameters`].join(', '),
  );
}

/**
 * Inspects and plans a model.
 *
 * Rejects with UserError LLM_MODEL_NOT_FOUND, LLM_NO_TOKENIZER, EXPORT_ARCHITECTURE, LLM_MEMORY, LLM_COVERAGE, those of `checkTextFiles`,
 * `planLayers` and `widenWithin`, and as `llmInspect` does.
 */
export async function openLlm(context: StageContext, options: LlmOptions): Promise<OpenedLlm> {
  checkModelFolder(options.model);
  checkTextFiles('--data', options.calibration.files);
  checkTextFiles('--verify-data', options.verification?.files ?? []);
  const model = await inspectModel(context, options);
  requireTokenizer(model, options);
  requireExports(model, options);
  const size = calibrationSize(options.calibration, usualCalibration(model), model);
  const plan = planWidths(model, options);
  // What passes hold lies where the model runs.
  const covered = coverage(model, plan, size, {
    ...options,
    memory: options.memory ?? context.gpu?.memory ?? null,
  });
  requireMemory(covered.memory, options.memory, size);
  requireCoverage(model, covered, plan);
  sayPlan(context, covered);
  if (size.samples < FEW.samples || size.length < FEW.length) {
    warn(
      context,
      `${size.samples} samples of ${size.length} tokens calibrate; ${FEW.samples} of ${FEW.length} are the least for stable results.`,
    );
  }
  return { name: basename(options.model), model, plan, coverage: covered, size };
}

/** Widths of all layers, within a budget of bits where one is given. */
export function planWidths(model: LlmInspection, options: LlmOptions): LayerPlan {
  const { widths, layers, activations, sensitivity } = options;
  const plan = planLayers(model, widths, layers, activations);
  if (widths.bitsBudget === null) return plan;
  const errors = sensitivity === null ? null : sensitivityOf(sensitivity);
  return { ...plan, linears: widenWithin(widths.bitsBudget, model.linears, plan.linears, errors) };
}

/** What only the architecture forbids is said before hours of work, not behind them. */
function requireExports(model: LlmInspection, { model: folder, exports }: LlmOptions): void {
  const refused = model.unexportable.find(({ format }) => exports.includes(format));
  if (!refused) return;
  const possible = LLM_FORMATS.filter((one) => model.unexportable.every(({ format }) => format !== one));
  throw new UserError('EXPORT_ARCHITECTURE', refused.reason, {
    place: folder,
    suggestions: [`Leave --export ${refused.format} out, or choose from: ${possible.join(', ')}`],
  });
}

function requireTokenizer(model: LlmInspection, { model: folder, calibration, prompts }: LlmOptions): void {
  if (model.tokenizer !== null) {
    if (calibration.chat && !model.tokenizer.chatTemplate) {
      throw new UserError('LLM_NO_CHAT_TEMPLATE', `The tokenizer of ${folder} has no chat template.`, {
        place: folder,
        suggestions: ['Leave --chat out: the text is taken as it is.'],
      });
    }
    return;
  }
  if (isTokens(calibration.files) && prompts.length === 0) return;
  throw new UserError('LLM_NO_TOKENIZER', `${folder} has no tokenizer, so text cannot be read.`, {
    place: folder,
    expected: 'tokenizer.json, or tokenizer.model with tokenizer_config.json',
    suggestions: [
      'Copy the tokenizer that the model was trained with into the folder.',
      'Or give token numbers instead of text: --data tokens.npy',
    ],
  });
}

function requireCoverage(model: LlmInspection, { covered, uncovered }: LlmCoverage, plan: LayerPlan): void {
  const asked = plan.float.some(({ reason }) => reason !== 'no linear layer');
  if (asked || covered >= LEAST_COVERED) return;
  throw new UserError(
    'LLM_COVERAGE',
    `Only ${(100 * covered).toFixed(1)} % of the weights in the blocks of ${model.architecture} lie in layers that can be quantized.`,
    {
      expected: `${100 * LEAST_COVERED} % or more`,
      found: uncovered
        .slice(0, 5)
        .map(({ name }) => name)
        .join(', '),
      suggestions: ['See every layer with: dopt llm plan MODEL_DIR', 'Try newer packages: --profile current'],
    },
  );
}

function sayPlan(
  { progress }: StageContext,
  { layers, meanBits, bytes: size, floatBytes, memory }: LlmCoverage,
): void {
  const quantized = layers.filter(({ bits }) => bits !== null).length;
  progress.note(
    `plan: ${quantized} of ${layers.length} layers, ${meanBits.toFixed(3)} bits a weight, ${bytes(floatBytes)} to ${bytes(size)}, ${bytes(memory.total)} of memory`,
  );
}

/** What decides an inspection beside the folder. */
export const inspectionKey = (model: LlmInspection): unknown => ({ sha256: model.sha256, version: VERSION });

/** The error of a stage whose predecessor has not been run in the folder. */
export const stageMissing = (out: string, stage: string): UserError =>
  new UserError('LLM_STAGE_ORDER', `${out} holds no result of ${stage}.`, {
    place: out,
    suggestions: [`Run it first, with the same folder: dopt llm ${stage} … --out ${out}`],
  });
