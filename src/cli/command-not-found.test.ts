import { describe, expect, it } from 'vitest';
import { unknownCommand } from './command-not-found.js';

const commands = ['quantize', 'llm:quantize', 'llm:plan', 'runs:list', 'tune'];
const error = (id: string) => unknownCommand(id, commands, ['llm', 'runs']);

describe('an unknown command', () => {
  it('is answered with near ones; arguments are no part of it', () => {
    const { message, suggestions, exitCode } = error('quantise:/a/net.onnx');
    expect(message).toBe('There is no command "quantise".');
    expect(suggestions[0]).toBe('Did you mean dopt quantize?');
    expect(exitCode).toBe(2);
  });

  it('of a group is looked up in it', () => {
    expect(error('runs:lst').message).toBe('There is no command "runs lst".');
    expect(error('runs:lst').suggestions[0]).toBe('Did you mean dopt runs list?');
  });

  it('that is near to none is answered with the way to all', () => {
    expect(error('frobnicate').suggestions).toEqual(['See all commands with dopt --help.']);
  });
});
