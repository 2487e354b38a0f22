import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { digits, dopt, printedError, ROOT, sha256 } from './cli.js';

const CONFIGS = join(ROOT, 'test/fixtures/compat/configs');

/** Shape of the shipped model's input, as --input_shape has it. */
export const SHAPE = 'image:1,1,16,16';

/** Pictures that `copyPictures` takes. */
export const PICTURES = 24;

/** Copies some of the shipped model's calibration pictures into `folder`/pictures. */
export function copyPictures(folder: string): string {
  const pictures = join(folder, 'pictures');
  mkdirSync(pictures);
  for (const name of readdirSync(digits.calibration).slice(0, PICTURES))
    copyFileSync(join(digits.calibration, name), join(pictures, name));
  return pictures;
}

/** Writes a sample configuration with its @NAMES@ filled in; returns its path. */
export function config(folder: string, name: string, names: Record<string, string>): string {
  const text = readFileSync(join(CONFIGS, name), 'utf8').replace(/@([A-Z]+)@/g, (_, key) => names[key]!);
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

export interface Command {
  flags: string[];
  output: string;
  parameters: string;
}

/** The flags of the ONNX sample command line of the original's page. */
export function command(folder: string, calConf: string, more: Record<string, string> = {}): Command {
  const output = join(folder, 'net_quant.onnx');
  const parameters = join(folder, 'net_param');
  const flags = {
    '-m': '0',
    '--framework': '5',
    '--model': digits.model,
    '--cal_conf': calConf,
    '--output': output,
    '--input_shape': SHAPE,
    '--compress_conf': parameters,
    ...more,
  };
  return { flags: Object.entries(flags).flat(), output, parameters };
}

export const digest = ({ output, parameters }: Command): string[] => [sha256(output), sha256(parameters)];

/** Runs `dopt compat notrain`, which must succeed, and gives the digest of both results. */
export async function quantized(made: Command, more: string[] = []): Promise<string[]> {
  const { code, err } = await dopt(['compat', 'notrain', ...made.flags, '--quiet', ...more]);
  expect(code, err).toBe(0);
  return digest(made);
}

/** The error of a `dopt compat notrain` that must fail and leave nothing under a final name. */
export async function refusal(made: Command, code: number, more: string[] = []) {
  const ended = await dopt(['compat', 'notrain', ...made.flags, ...more, '--json']);
  expect(ended.code, ended.err + ended.out).toBe(code);
  expect([existsSync(made.output), existsSync(made.parameters)]).toEqual([false, false]);
  return printedError(ended);
}
