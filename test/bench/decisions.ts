import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type RunResult, resultSchema } from '../../src/config/result.js';
import type { Verification } from '../../src/config/verification.js';
import { writeFileAtomic } from '../../src/run/atomic.js';
import { type FloatModel, floatModel } from './float-model.js';
import type { BenchModel } from './models.js';
import { type Row, score } from './rows.js';
import { agreementText, sqnrText } from './table.js';

/** A quantized model that a row was made of: ours by its variant, a peer's by `peer.config`. */
export interface Judged {
  row: Row;
  /** Null where the row has none. */
  model: string | null;
}

/** The model of a run of dopt in `folder`/dopt/VARIANT. */
export function ourModel(folder: string, variant: string): string | null {
  const out = join(folder, 'dopt', variant);
  const file = join(out, 'result.json');
  if (!existsSync(file)) return null;
  const result: RunResult = resultSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
  return join(out, Object.values(result.files)[0]!.path);
}

/** The model that a peer has left in `folder`/peers. */
export function peerModel(folder: string, name: string): string | null {
  const model = join(folder, 'peers', `${name}.onnx`);
  return existsSync(model) ? model : null;
}

/**
 * How many decisions on a network's further pictures are those of the float model, a row for each model that earlier runs have
 * left; as Markdown. Figures are kept in `folder`/views and go with the model that they are of.
 */
export async function decisionsTable(
  model: BenchModel,
  folder: string,
  judged: readonly Judged[],
): Promise<string> {
  const views = model.views!;
  if (!existsSync(views)) throw new Error(`${views} is not there: remove the data folder that it lies in`);
  const place = join(folder, 'views');
  mkdirSync(place, { recursive: true });
  const float = await floatModel({ ...model, args: onlyScored(model.args, views) }, place);
  const lines: string[] = [];
  for (const { row, model: quantized } of judged) {
    if (quantized === null || !row.measured) continue;
    const verification = await verified(float, place, row.tool.replace(/[^\w.-]+/g, '-'), quantized);
    lines.push(`| ${row.tool} | ${agreementText(verification)} | ${sqnrText(verification)} |`);
  }
  const head = `| ${float.scored.length} pictures | same decision % | SQNR dB |`;
  return [`### ${model.name}`, '', head, '|---|---|---|', ...lines].join('\n');
}

/** Arguments of a network with other pictures to score, which have no labels. */
function onlyScored(args: readonly string[], views: string): string[] {
  const kept = [...args];
  kept[kept.indexOf('--verify-data') + 1] = views;
  const labels = kept.indexOf('--labels');
  if (labels >= 0) kept.splice(labels, 2);
  return kept;
}

async function verified(
  float: FloatModel,
  place: string,
  name: string,
  quantized: string,
): Promise<Verification> {
  const file = join(place, `${name}.json`);
  const key = createHash('sha256').update(readFileSync(quantized)).digest('hex');
  if (existsSync(file)) {
    const kept = JSON.parse(readFileSync(file, 'utf8')) as { key: string; verification: Verification };
    if (kept.key === key) return kept.verification;
  }
  const verification = await score(float, quantized);
  await writeFileAtomic(file, `${JSON.stringify({ key, verification })}\n`);
  return verification;
}
