import { join } from 'node:path';
import type { Metric } from '../config/metric.js';
import type { DoorResult, Parity } from '../config/verification.js';
import { ExternalError } from '../errors.js';
import { type StageContext, warn } from '../quantize/context.js';
import type { Scoring } from '../quantize/stages.js';
import { type CheckRequest, checkStage } from './check.js';
import type { Door } from './convert.js';
import { type Quantization, type WrittenBack, writeBackStage } from './write-back.js';

export interface GoBackRequest {
  door: Door;
  /** On calibration samples. */
  parity: Parity;
  quantization: Quantization;
  /** Captured float model, quantized ONNX model, and the digest of the stage that wrote it. */
  float: string;
  quantized: string;
  applied: string;
  /** null when there is nothing to score with. */
  scoring: Scoring | null;
  metric: Metric | null;
  labelsOf: CheckRequest['labelsOf'];
}

/** What lies in the model's own format now: paths in the run's stages, and what the framework says of it. */
export interface GoneBack {
  /** null where the framework's form of the network has no place for the quantization; `result` says why. */
  files: { plain: string; checked: string } | null;
  result: DoorResult;
}

/**
 * Writes the quantized network in its own format and compares it, in its framework, with the float model. A network that
 * cannot be written so is quantized all the same: the ONNX model and the parameters are whole.
 */
export async function goBack(context: StageContext, request: GoBackRequest): Promise<GoneBack> {
  const { door, quantized, scoring, metric, labelsOf } = request;
  const written = await writeBackStage(
    context,
    door,
    request.quantization,
    request.float,
    request.applied,
  ).catch((error: unknown) => {
    if (error instanceof ExternalError && error.code.startsWith('WRITE_BACK_')) return error;
    throw error;
  });
  if (written instanceof ExternalError) {
    warn(context, `There is no ${door.framework} file: ${written.message}`);
    return {
      files: null,
      result: describeDoor(door, request.parity, { notes: [], unmapped: [] }, null, written.message),
    };
  }
  const { value, digest } = written;
  const folder = context.run.stageFolder('write-back');
  const checked = join(folder, value.checked);
  const check =
    scoring &&
    (await checkStage(
      context,
      { door, written: checked, quantized, source: scoring.source, metric, labelsOf },
      { scoring: scoring.key, written: digest },
    ));
  const result = describeDoor(door, request.parity, value, check, null);
  warnOf(context, result);
  return { files: { plain: join(folder, value.plain), checked }, result };
}

function describeDoor(
  { conversion, framework }: Door,
  parity: Parity,
  { notes, unmapped }: Pick<WrittenBack, 'notes' | 'unmapped'>,
  check: DoorResult['check'],
  unwritten: string | null,
): DoorResult {
  const { frontEnd, versions, seconds, importSeconds, peakBytes } = conversion;
  return {
    framework,
    versions,
    conversion: { seconds, importSeconds, peakBytes },
    parity: { random: conversion.parity, samples: parity },
    frontEnd: frontEnd && { description: frontEnd.description, features: frontEnd.features },
    notes: [...conversion.notes, ...notes],
    unmapped,
    unwritten,
    check,
  };
}

/** Share of equal decisions below which the written-back model is said to differ from the ONNX one. */
const SAME_DECISIONS = 0.995;

function warnOf(context: StageContext, { framework, unmapped, check }: DoorResult): void {
  if (unmapped.length > 0) {
    const [first] = unmapped;
    const others = unmapped.length > 1 ? ` and ${unmapped.length - 1} others` : '';
    warn(
      context,
      `The ${framework} file does not quantize ${first!.tensor}${others}: ${first!.reason}. The ONNX model does.`,
    );
  }
  for (const { name, agreement } of check?.againstOnnx ?? []) {
    if (!agreement || agreement.share >= SAME_DECISIONS) continue;
    const percent = (100 * agreement.share).toFixed(1);
    warn(
      context,
      `At ${name} the written-back model decides as the quantized ONNX model on ${percent} % of ${agreement.count} ${agreement.over} only.`,
    );
  }
}
