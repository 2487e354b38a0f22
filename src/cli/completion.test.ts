import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { type CompletedCommand, completionScript } from './completion.js';

const flag = (name: string, options: string[] = [], takesValue = options.length > 0) => ({
  name,
  summary: `what "${name}" is, isn't it`,
  takesValue,
  options,
});
const COMMANDS: CompletedCommand[] = [
  {
    id: 'quantize',
    summary: 'q',
    flags: [flag('data', [], true), flag('env', ['venv', 'docker']), flag('json')],
  },
  { id: 'llm quantize', summary: 'lq', flags: [flag('bits', ['4', '8'])] },
  { id: 'llm eval', summary: 'le', flags: [] },
  { id: 'search', summary: 's', flags: [flag('config')] },
  { id: 'search profile', summary: 'sp', flags: [flag('count')] },
];

/** What bash completes the last of these words to. */
function completed(...words: string[]): string[] {
  const script = `${completionScript('bash', 'dopt', COMMANDS)}
COMP_WORDS=(dopt "$@"); COMP_CWORD=$#; _dopt; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr } = spawnSync('bash', ['-c', script, 'bash', ...words], { encoding: 'utf8' });
  expect(stderr).toBe('');
  return stdout.split('\n').filter(Boolean);
}

describe('bash', () => {
  it('completes commands word by word', () => {
    expect(completed('')).toEqual(['llm', 'quantize', 'search']);
    expect(completed('llm', '')).toEqual(['eval', 'quantize']);
    expect(completed('llm', 'q')).toEqual(['quantize']);
    expect(completed('search', '')).toEqual(['profile']);
  });

  it('completes flags of the command that was given, and their values', () => {
    expect(completed('quantize', 'net.onnx', '--')).toEqual(['--data', '--env', '--json']);
    expect(completed('quantize', 'net.onnx', '--env', '')).toEqual(['venv', 'docker']);
    expect(completed('llm', 'quantize', '--b')).toEqual(['--bits']);
    expect(completed('search', '--')).toEqual(['--config']);
    expect(completed('search', 'profile', '--')).toEqual(['--count']);
  });

  it('leaves paths to the shell', () => {
    expect(completed('quantize', 'ne')).toEqual([]);
    expect(completed('quantize', 'net.onnx', '--data', 'pi')).toEqual([]);
  });
});

it('fish gets one line a word and a flag, quoted', () => {
  const script = completionScript('fish', 'dopt', COMMANDS);
  expect(script).toContain(
    `-n '__fish_seen_subcommand_from llm; and not __fish_seen_subcommand_from eval quantize' -a eval`,
  );
  expect(script).toContain(`-l env -x -a 'venv docker' -d 'what "env" is, isn\\'t it'`);
  expect(script).toContain('-l data -r ');
});

it('zsh loads what runs the script of bash', () => {
  expect(completionScript('zsh', 'dopt', COMMANDS)).toMatch(
    /bashcompinit && bashcompinit\n[\s\S]*complete -o default -F _dopt dopt/,
  );
});
