import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { EXIT } from '../src/errors.js';
import { digits, dopt, inFolder, printedError, quick } from './helpers/cli.js';

const DOPT_HOME = process.env.DOPT_HOME ?? join(homedir(), '.cache/dopt');

/** Lets the clock that JavaScript sees jump by a day, forwards and backwards in turn. */
const JUMPING = 'const now = Date.now; let n = 0; Date.now = () => now() + (n++ % 2 ? 864e5 : -864e5);';

describe('a run is the same', () => {
  it('with spaces, quotation marks and foreign letters in paths, behind links, in the C locale, without HOME, under a clock that jumps', () =>
    inFolder(async (folder) => {
      const odd = join(folder, 'sp ace ünï, 日本 "q" $x');
      const [data, model, out] = [join(odd, 'dä ta'), join(odd, 'mo del.onnx'), join(odd, 'a run')];
      mkdirSync(odd);
      cpSync(digits.calibration, data, { recursive: true });
      symlinkSync(digits.model, model);
      symlinkSync(data, join(odd, 'link'));
      writeFileSync(join(folder, 'jump.mjs'), JUMPING);
      const args = quick(out, '--effort', 'fast', '--samples', '8', '--data', join(odd, 'link'), '--json');
      args[1] = model;
      const env = {
        HOME: '',
        LC_ALL: 'C',
        LANG: 'C',
        PYTHONUTF8: '0',
        DOPT_HOME,
        NODE_OPTIONS: `--import ${pathToFileURL(join(folder, 'jump.mjs')).href}`,
      };
      const strange = await dopt(args, { env });
      expect([strange.code, strange.err]).toEqual([0, '']);
      const usual = join(folder, 'usual');
      expect((await dopt(quick(usual, '--effort', 'fast', '--samples', '8'))).code).toBe(0);
      const bytes = [join(out, 'mo del.int8.onnx'), join(usual, 'model.int8.onnx')].map((path) =>
        readFileSync(path),
      );
      expect(bytes[0]!.equals(bytes[1]!)).toBe(true);
    }));
});

describe('what the machine refuses is told as that', () => {
  it('no folder for temporary files', () =>
    inFolder(async (folder) => {
      const ended = await dopt(quick(join(folder, 'run'), '--json'), {
        env: { TMPDIR: join(folder, 'none') },
      });
      expect(ended.code).toBe(EXIT.environment);
      expect(printedError(ended).code).toBe('TEMP_FOLDER');
      expect(existsSync(join(folder, 'run/result.json'))).toBe(false);
    }));

  it('a home that nothing can be kept in', () =>
    inFolder(async (folder) => {
      writeFileSync(join(folder, 'file'), '');
      const ended = await dopt(quick(join(folder, 'run'), '--json'), {
        env: { HOME: join(folder, 'file'), DOPT_HOME: '' },
      });
      expect(printedError(ended)).toMatchObject({ code: 'ENV_FOLDER', exitCode: EXIT.environment });
      expect(printedError(ended).suggestions.join()).toContain('DOPT_HOME');
    }));
});
