import { type Problem, shorten } from '../../config/problems.js';
import { lex, type Token } from './lexer.js';
import type { Field, Message, Place, Scalar, Value } from './tree.js';

/** Most messages inside each other; the original's file has two. */
const MAX_DEPTH = 32;

/** Thrown inside the parser only. */
class Stop extends Error {
  constructor(readonly problem: Problem) {
    super(problem.message);
  }
}

const CLOSES: Record<string, string> = { '{': '}', '<': '>' };

/**
 * Protobuf text format as a tree with places: `name: value`, `name { … }` and `name: { … }`, lists, text in several
 * quoted pieces, `;` and `,` between fields (Text Format Language Specification, protobuf.dev).
 *
 * Never throws: a file that is not right has problems and no message.
 */
export function parsePrototxt(text: string): { message: Message | null; problems: Problem[] } {
  const { tokens, problems } = lex(text);
  try {
    const message = new Parser(tokens).file();
    return { message: problems.length > 0 ? null : message, problems };
  } catch (error) {
    if (!(error instanceof Stop)) throw error;
    // What is wrong with characters explains what is wrong with the grammar behind them.
    return { message: null, problems: problems.length > 0 ? problems : [error.problem] };
  }
}

class Parser {
  private at = 0;

  constructor(private readonly tokens: readonly Token[]) {}

  file(): Message {
    const place = { line: 1, column: 1 };
    return { kind: 'message', fields: this.fields(null, place, 0), place };
  }

  /** Fields up to the mark that closes what `opened` opens; up to the end of the file for null. */
  private fields(opened: string | null, place: Place, depth: number): Field[] {
    if (depth > MAX_DEPTH) throw new Stop({ ...place, message: 'is nested too deeply' });
    const fields: Field[] = [];
    for (;;) {
      const token = this.next();
      if (isMark(token, ';') || isMark(token, ',')) continue;
      if (opened !== null && isMark(token, CLOSES[opened]!)) return fields;
      if (token.kind === 'end') {
        if (opened === null) return fields;
        throw new Stop({
          ...place,
          message: `opens ${opened} that is not closed`,
          suggestions: [`Add the closing ${CLOSES[opened]}.`],
        });
      }
      fields.push(...this.field(token, depth));
    }
  }

  private field(name: Token, depth: number): Field[] {
    if (isMark(name, '}') || isMark(name, '>')) {
      throw new Stop({ ...name.place, message: `closes ${name.text} that was not opened` });
    }
    if (name.kind !== 'word') throw unexpected(name, 'the name of a setting');
    const colon = isMark(this.peek(), ':');
    if (colon) this.at += 1;
    const first = this.peek();
    const toField = (value: Value): Field => ({ name: name.text, place: name.place, value });
    if (isMark(first, '[')) return this.list(depth).map(toField);
    if (!colon && first.kind !== 'end' && CLOSES[first.text] === undefined) {
      throw new Stop({
        ...first.place,
        message: `lacks the colon behind ${shorten(name.text)}`,
        found: shorten(first.text),
        suggestions: [`Write ${shorten(name.text)}: VALUE`],
      });
    }
    return [toField(this.value(name, depth))];
  }

  private value(name: Token, depth: number): Value {
    const token = this.next();
    if (token.kind === 'mark' && CLOSES[token.text] !== undefined) {
      return {
        kind: 'message',
        fields: this.fields(token.text, token.place, depth + 1),
        place: token.place,
      };
    }
    if (token.kind === 'text') return this.pieces(token);
    if (token.kind === 'number') return { kind: 'number', value: token.value, place: token.place };
    if (token.kind === 'word') return { kind: 'word', value: token.text, place: token.place };
    throw unexpected(token, `a value for ${shorten(name.text)}`);
  }

  /** Text in quotes; pieces beside each other are one text. */
  private pieces(first: Token): Scalar {
    let value = first.text;
    while (this.peek().kind === 'text') value += this.next().text;
    return { kind: 'text', value, place: first.place };
  }

  private list(depth: number): Value[] {
    const open = this.next();
    const values: Value[] = [];
    if (isMark(this.peek(), ']')) {
      this.at += 1;
      return values;
    }
    for (;;) {
      if (this.peek().kind === 'end') {
        throw new Stop({
          ...open.place,
          message: 'opens [ that is not closed',
          suggestions: ['Add the closing ].'],
        });
      }
      values.push(this.value(open, depth));
      const token = this.next();
      if (isMark(token, ']')) return values;
      if (!isMark(token, ',') && token.kind !== 'end') throw unexpected(token, ', or ] in the list');
    }
  }

  private peek(): Token {
    return this.tokens[this.at]!;
  }

  /** The next token; the end stays where it is. */
  private next(): Token {
    const token = this.tokens[this.at]!;
    if (token.kind !== 'end') this.at += 1;
    return token;
  }
}

const isMark = (token: Token, mark: string): boolean => token.kind === 'mark' && token.text === mark;

function unexpected(token: Token, expected: string): Stop {
  const found = token.kind === 'end' ? 'the end of the file' : shorten(token.text);
  return new Stop({ ...token.place, message: `lacks ${expected}`, expected, found });
}
