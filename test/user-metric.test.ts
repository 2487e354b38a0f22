import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { comparisonSchema, type RunResult, resultSchema } from '../src/config/result.js';
import { digits, dopt, eventsOf, printedError, quick, stagesOf } from './helpers/cli.js';

const ACCURACY = `
import numpy as np

lower_is_better = ["loss"]

def evaluate(outputs, labels):
    print("scoring", len(outputs), "outputs of", outputs[0].shape)
    right = [output.argmax() == label for output, label in zip(outputs, labels)]
    loss = [np.log(np.exp(o - o.max()).sum()) + o.max() - o[0, l] for o, l in zip(outputs, labels)]
    return {"own accuracy": 100 * np.mean(right), "loss": np.mean(loss)}
`;

let work: string;
let run: string;
let result: RunResult;
const metric = (name: string, code: string): string => {
  const path = join(work, name);
  writeFileSync(path, code);
  return path;
};

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'dopt-metric-'));
  run = join(work, 'run');
  const own = ['--metric', metric('accuracy.py', ACCURACY)];
  const data = ['--verify-data', digits.test, '--labels', digits.labels, '--verify-samples', '40'];
  const { code, out, err } = await dopt(quick(run, ...data, ...own, '--json'));
  expect(code, err + out).toBe(0);
  result = resultSchema.parse(JSON.parse(out));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

describe("a metric of the user's", () => {
  it('scores both models, with standard errors, and agrees with our own accuracy', async () => {
    const task = result.verification!.task!;
    expect(task).toMatchObject({ kind: 'user', against: 'labels', samples: 40 });
    const [accuracy, loss] = task.scores;
    expect(accuracy).toMatchObject({ name: 'own accuracy', unit: '', better: 'higher' });
    expect(loss).toMatchObject({ name: 'loss', better: 'lower' });
    for (const score of task.scores) {
      expect(score.standardErrors!.float, score.name).toBeGreaterThanOrEqual(0);
      expect(score.standardErrors!.difference, score.name).toBeLessThanOrEqual(
        score.standardErrors!.float! + score.standardErrors!.quantized,
      );
    }
    expect(loss!.standardErrors!.float).toBeGreaterThan(0);
    const { code, out } = await dopt([
      ...['verify', digits.model, join(run, 'model.int8.onnx'), '--recipe', 'digits', '--data', digits.test],
      ...['--labels', digits.labels, '--samples', '40', '--metric', 'top1', '--json'],
    ]);
    expect(code).toBe(0);
    const [top1] = comparisonSchema.parse(JSON.parse(out)).verification.task!.scores;
    expect(top1).toMatchObject({ name: 'top-1', float: accuracy!.float, quantized: accuracy!.quantized });
  });

  it('prints into the log of the run, once a model, and leaves no outputs behind', () => {
    const log = readFileSync(join(run, 'python.log'), 'utf8');
    expect(log.match(/scoring 40 outputs of \(1, 10\)/g)).toHaveLength(2);
    const left = readdirSync(run, { recursive: true }) as string[];
    expect(left.filter((name) => name.endsWith('.raw'))).toEqual([]);
    expect(existsSync(join(work, '__pycache__'))).toBe(false);
  });

  it('stands in the report', () => {
    const report = readFileSync(join(run, 'report.html'), 'utf8');
    expect(report).toContain('own accuracy');
    expect(report).toContain('(lower is better)');
  });

  it('is run anew, and nothing else, when the file has changed', async () => {
    const failing = metric('changing.py', 'def evaluate(outputs, labels):\n    return labels[0].x\n');
    const out = join(work, 'changed');
    const data = ['--verify-data', digits.test, '--labels', digits.labels];
    const args = quick(out, ...data, '--metric', failing);
    const first = await dopt(args);
    expect(first.code).toBe(3);
    expect(first.err).toContain(`${failing}:2`);
    expect(first.err).toContain("'int' object has no attribute 'x'");
    metric('changing.py', 'def evaluate(outputs, labels):\n    return 0.5\n');
    const { code, err } = await dopt([...args, '--resume']);
    expect(code, err).toBe(0);
    const started = stagesOf(eventsOf(out).at(-1)!, 'stage-start');
    expect(started).toEqual(['verify']);
  });
});

describe('a metric file with a mistake', () => {
  const verify = (file: string, ...more: string[]): string[] => [
    ...['verify', digits.model, join(run, 'model.int8.onnx'), '--recipe', 'digits', '--data', digits.test],
    ...['--labels', digits.labels, '--samples', '8', '--metric', file, '--json', ...more],
  ];
  const refused = async (args: string[]) => {
    const ended = await dopt(args);
    const error = printedError(ended);
    expect(ended.code).toBe(3);
    expect(error.suggestions.length).toBeGreaterThan(0);
    return error;
  };

  it('that does not exist is named before anything starts', async () => {
    const path = join(work, 'none.py');
    expect(await refused(verify(path))).toMatchObject({ code: 'METRIC_NOT_FOUND', place: path });
  });

  it.each([
    [
      'no-evaluate.py',
      'def evaluat(outputs, labels):\n    return 1\n',
      'METRIC_NO_EVALUATE',
      /no-evaluate\.py$/,
    ],
    ['syntax.py', 'def evaluate(outputs, labels):\n    return (\n', 'METRIC_FAILED', /syntax\.py:2$/],
    ['package.py', 'import no_such_package\n', 'METRIC_IMPORT', /package\.py:1$/],
    ['nan.py', 'def evaluate(outputs, labels):\n    return float("nan")\n', 'METRIC_RESULT', /nan\.py$/],
    ['text.py', 'def evaluate(outputs, labels):\n    return "0.9"\n', 'METRIC_RESULT', /text\.py$/],
    ['exits.py', 'import sys\ndef evaluate(o, l):\n    sys.exit()\n', 'METRIC_FAILED', /exits\.py:3$/],
  ])('is told with its place: %s', async (name, code, error, place) => {
    expect(await refused(verify(metric(name, code)))).toMatchObject({
      code: error,
      place: expect.stringMatching(place),
    });
  });

  it('that raises shows the end of the traceback', async () => {
    const path = metric(
      'raises.py',
      'def helper(n):\n    return 1 / n\n\ndef evaluate(o, l):\n    return helper(0)\n',
    );
    const error = await refused(verify(path));
    expect(error).toMatchObject({ code: 'METRIC_FAILED', place: `${path}:2` });
    expect(error.message).toContain('evaluate() for the float model');
    expect(error.found).toMatch(
      /line 5, in evaluate\n.*return helper\(0\)\n(.*\n)*ZeroDivisionError: division by zero$/,
    );
  });

  it.each([
    ['loops.py', 'def evaluate(outputs, labels):\n    while True:\n        pass\n', 3],
    ['waits.py', 'import time\ntime.sleep(1000)\n', 2],
  ])('that gives no sign of life is ended: %s', async (name, code, line) => {
    const path = metric(name, code);
    const recipe = join(work, 'hang.yaml');
    writeFileSync(
      recipe,
      'name: hang\nfamily: test\ndescription: a test\npreprocess: {color: gray, std: 255}\n' +
        `metric: {kind: user, file: ${name}, patience: 1.5}\n`,
    );
    const args = ['--data', digits.test, '--samples', '8', '--recipe', recipe, '--json'];
    const ended = await dopt(['verify', digits.model, join(run, 'model.int8.onnx'), ...args]);
    expect(printedError(ended)).toMatchObject({ code: 'METRIC_HANG' });
    expect(printedError(ended).place).toMatch(new RegExp(`${path}:(${line}|${line - 1})$`));
    expect(ended.code).toBe(3);
    expect(ended.seconds).toBeLessThan(30);
  });

  it('that kills its process is an error of Python', async () => {
    const path = metric(
      'kills.py',
      'import os, signal\ndef evaluate(o, l):\n    os.kill(os.getpid(), signal.SIGKILL)\n',
    );
    const ended = await dopt(verify(path));
    expect(printedError(ended)).toMatchObject({ code: 'PYTHON_DIED' });
    expect(ended.code).toBe(5);
  });
});
