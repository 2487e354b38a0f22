import type { Problem } from '../../config/problems.js';
import { asciiFor } from './full-width.js';
import type { Place } from './tree.js';

/** One word of a file. `text` has quotes and escapes resolved; `value` is the number of a number. */
export interface Token {
  kind: 'word' | 'number' | 'text' | 'mark' | 'end';
  text: string;
  value: number;
  place: Place;
}

export interface Lexed {
  /** Ends with a token `end`. */
  tokens: Token[];
  problems: Problem[];
}

/** Most tokens in a file; a network with a thousand excluded operators stays below 4,000. */
export const MAX_TOKENS = 100_000;

/** Problems after which nobody reads on. */
const MAX_PROBLEMS = 100;

const SPACE = /\s+/y;
const COMMENT = /(?:#|\/\/)[^\n]*/y;
const WORD = /[A-Za-z_][\w.-]*/y;
const NUMBER =
  /[-+]?[ \t]*(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?[fF]?|(?:inf(?:inity)?|nan)\b)/iy;
const MARKS = '{}<>[]:;,';
const QUOTES = new Set(['"', "'", '“', '”', '‘', '’', '＂', '＇']);
const ESCAPE = /\\(?:([abfnrtv\\'"?])|x([0-9a-fA-F]{1,2})|([0-7]{1,3}))/y;
const ESCAPED: Record<string, string> = { a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' };

/**
 * Protobuf text as tokens, each with its place. Comments begin with `#` or `//`. Full-width punctuation is read as what
 * was meant and reported, so that one pass names all of it. Never throws.
 */
export function lex(source: string): Lexed {
  return new Lexer(source).run();
}

class Lexer {
  private readonly tokens: Token[] = [];
  private readonly problems: Problem[] = [];
  private at = 0;
  private line = 1;
  private lineStart = 0;

  constructor(private readonly source: string) {
    if (source.startsWith('\ufeff')) {
      this.at = 1;
      this.lineStart = 1;
    }
  }

  run(): Lexed {
    const more = (): boolean => this.tokens.length < MAX_TOKENS && this.problems.length < MAX_PROBLEMS;
    while (this.skipBlank() && more() && this.next());
    if (this.tokens.length >= MAX_TOKENS) {
      this.problems.push({ ...this.place(), message: 'holds too much to be a configuration' });
    }
    this.push('end', '');
    return { tokens: this.tokens, problems: this.problems };
  }

  /** Moves behind spaces and comments; false at the end. */
  private skipBlank(): boolean {
    for (;;) {
      const space = this.match(SPACE);
      if (space) this.countLines(space[0]);
      else if (!this.match(COMMENT)) return this.at < this.source.length;
    }
  }

  /** Reads one token; false where reading on makes no sense. */
  private next(): boolean {
    const place = this.place();
    const first = String.fromCodePoint(this.source.codePointAt(this.at)!);
    if (QUOTES.has(first)) return this.text(first, place);
    const number = this.match(NUMBER);
    if (number) return this.number(number[0], place);
    const word = this.match(WORD);
    if (word) return this.push('word', word[0], place);
    const meant = asciiFor(first);
    if (meant !== undefined) this.fullWidth(first, meant, place);
    const mark = meant ?? first;
    this.at += first.length;
    if (MARKS.includes(mark)) return this.push('mark', mark, place);
    if (meant !== undefined) return true;
    this.problems.push({ ...place, message: strayMessage(first) });
    return first === '/' || first === '\\' ? this.skipLine() : true;
  }

  private number(text: string, place: Place): boolean {
    const rest = this.match(/[\w.]+/y);
    if (rest) {
      this.problems.push({
        ...place,
        message: 'has something that is neither a number nor a name',
        found: text + rest[0],
      });
      return true;
    }
    const plain = text.replace(/\s/g, '').toLowerCase();
    return this.push('number', text, place, toNumber(plain));
  }

  private text(quote: string, opened: Place): boolean {
    const closing = asciiFor(quote) ?? quote;
    if (closing !== quote) this.fullWidth(quote, closing, opened);
    this.at += quote.length;
    let text = '';
    let strange: Place | null = null;
    for (;;) {
      const character = this.source[this.at];
      if (character === undefined || character === '\n') {
        this.problems.push(unterminated(opened, closing, strange));
        return false;
      }
      const place = this.place();
      if (character === closing || (closing !== quote && asciiFor(character) === closing)) {
        if (character !== closing) this.fullWidth(character, closing, place);
        this.at += 1;
        return this.push('text', text, opened);
      }
      if (asciiFor(character) === closing) strange ??= place;
      if (character === '\\') text += this.escape(place);
      else {
        text += character;
        this.at += 1;
      }
    }
  }

  private escape(place: Place): string {
    const found = this.match(ESCAPE);
    if (!found) {
      this.at += 1;
      this.problems.push({
        ...place,
        message: 'has a backslash that begins no known escape',
        suggestions: ['Write a backslash as \\\\, and paths with /.'],
      });
      return '';
    }
    const [, letter, hex, octal] = found;
    if (letter !== undefined) return ESCAPED[letter] ?? letter;
    return String.fromCharCode(hex === undefined ? Number.parseInt(octal!, 8) : Number.parseInt(hex, 16));
  }

  private fullWidth(found: string, meant: string, place: Place): void {
    this.problems.push({
      ...place,
      message: `has a full-width ${found} (${codeOf(found)}) where ASCII ${meant} is meant`,
      suggestions: ['Type punctuation with the input method switched to half-width (English).'],
    });
  }

  private skipLine(): boolean {
    this.match(/[^\n]*/y);
    return true;
  }

  private push(kind: Token['kind'], text: string, place = this.place(), value = Number.NaN): boolean {
    this.tokens.push({ kind, text, value, place });
    return true;
  }

  private match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.source);
    if (found) this.at += found[0].length;
    return found;
  }

  private countLines(space: string): void {
    for (let index = space.indexOf('\n'); index >= 0; index = space.indexOf('\n', index + 1)) {
      this.line += 1;
      this.lineStart = this.at - space.length + index + 1;
    }
  }

  private place(): Place {
    return { line: this.line, column: this.at - this.lineStart + 1 };
  }
}

function unterminated(opened: Place, closing: string, strange: Place | null): Problem {
  return {
    ...opened,
    message: `opens text with ${closing} that is not closed on the same line`,
    suggestions: strange
      ? [`Line ${strange.line}, column ${strange.column} holds a full-width quote: use ${closing}.`]
      : [`Add the closing ${closing}.`],
  };
}

/** The number that a token stands for: decimal, hexadecimal, with an `f` behind it, inf or nan. */
function toNumber(text: string): number {
  const sign = text.startsWith('-') ? -1 : 1;
  const digits = text.replace(/^[-+]/, '');
  if (digits.startsWith('inf')) return sign * Number.POSITIVE_INFINITY;
  if (digits.startsWith('0x') || digits === 'nan') return sign * Number(digits);
  return sign * Number(digits.replace(/f$/, ''));
}

const codeOf = (character: string): string =>
  `U+${character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}`;

const strayMessage = (character: string): string =>
  character === '/' || character === '\\'
    ? `has a ${character} outside of quotes: a path needs quotes around it`
    : `has a character that means nothing here: ${/[\x21-\x7e]/.test(character) ? character : codeOf(character)}`;
