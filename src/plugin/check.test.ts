import { describe, expect, it } from 'vitest';
import { checkProject, describeCheck } from './check.js';

describe('describeCheck', () => {
  it('names what is quantized, what is not and why, and how far the program came', () => {
    const text = describeCheck({
      networks: [
        {
          network: 'Net',
          captured: { conv1: 'int8-8' },
          float: [{ name: 'gate', op_type: 'Gate', reason: 'its program cannot be captured' }],
        },
      ],
      steps: 2,
      ended: 'stopped',
      warnings: ['config.json:3: a comma'],
    });
    expect(text.split('\n')).toEqual([
      'Net: 1 quantized, 1 left in float',
      '  conv1  int8-8',
      '  gate  float (Gate): its program cannot be captured',
      'warning: config.json:3: a comma',
      '2 calls of quantized networks; the program was stopped there.',
    ]);
  });

  it('says when a program quantizes nothing', () => {
    const text = describeCheck({ networks: [], steps: 0, ended: 'exit 1', warnings: [] });
    expect(text).toContain('quantizes no network');
    expect(text).toContain('ended (exit 1)');
  });
});

describe('checkProject', () => {
  it('refuses a program that is not there before any environment is made', async () => {
    const options = { script: '/none/train.py', arguments: [], steps: 1 };
    await expect(checkProject({ ...options, profile: 'torch', environment: 'system' })).rejects.toMatchObject(
      {
        code: 'PLUGIN_SCRIPT_NOT_FOUND',
        place: '/none/train.py',
      },
    );
  });
});
