import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureEnvironment } from '../bridge/environments.js';
import { runJob } from '../bridge/jobs.js';
import type { Progress } from '../cli/progress.js';
import { type Graph, loadGraph } from '../graph/graph.js';
import { type DoorOptions, frameworkOf } from './convert.js';

export interface CaptureGraphOptions extends Omit<DoorOptions, 'seed'> {
  float16ToFloat32: boolean;
  progress: Progress;
  signal: AbortSignal;
}

/** The graph of a model without its weights. */
export interface CapturedGraph {
  graph: Graph;
  opset: { from: number; to: number };
  /** What was changed on the way, one sentence each. */
  notes: string[];
}

/**
 * Captures a model of any framework in a temporary folder and keeps its graph alone: what is needed to say something
 * about a model without running it.
 *
 * Rejects as the doors and the capture job do.
 */
export async function captureGraph(options: CaptureGraphOptions): Promise<CapturedGraph> {
  const { progress, signal, float16ToFloat32 } = options;
  const environment = await ensureEnvironment('onnx', options.environment, {
    onProgress: (line) => progress.note(line),
  });
  const out = mkdtempSync(join(tmpdir(), 'dopt-graph-'));
  try {
    const door = await frameworkOf(options, progress);
    const conversion =
      door && (await runJob(door.environment, 'convert', { ...door.model, out, seed: 0 }, { signal }));
    // A door has fixed the shapes and cut the outputs by the framework's own names.
    const { model, inputShapes, outputs } = conversion
      ? { model: conversion.model, inputShapes: {}, outputs: null }
      : options;
    const params = { model, out: join(out, 'captured'), inputShapes, outputs, float16ToFloat32, seed: 0 };
    mkdirSync(params.out);
    const capture = await runJob(environment, 'capture', params, { signal });
    const graph = await loadGraph(capture.graph);
    return { graph, opset: capture.opset, notes: [...(conversion?.notes ?? []), ...capture.notes] };
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}
