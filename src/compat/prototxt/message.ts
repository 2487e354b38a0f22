import { z } from 'zod';
import { describeIssue } from '../../config/issues.js';
import { type Problem, problemsError, shorten } from '../../config/problems.js';
import { nearMatches } from '../../graph/near-match.js';
import { parsePrototxt } from './parser.js';
import type { Field, Message, Place, Value } from './tree.js';

const CODE = 'PROTOTXT_INVALID';
const ADVICE = 'Mend the file; the fields are listed in docs/compat.md.';

/** A message that fits its schema, and where its settings stand. */
export interface ReadMessage<T> {
  value: T;
  /** Place of a setting by its path; of the innermost one around it when it was left out. */
  placeOf: (...path: (string | number)[]) => Place;
}

/**
 * Protobuf text as `schema` has it, defaults filled in: arrays in the schema are repeated fields; `path` is named in
 * errors.
 *
 * Throws UserError PROTOTXT_INVALID, whose place is `path:line:column`, for wrong syntax and full-width punctuation,
 * settings that are unknown or given twice, and values of a wrong type or range.
 */
export function readPrototxt<S extends z.ZodObject>(
  text: string,
  path: string,
  schema: S,
): ReadMessage<z.output<S>> {
  const fail = (problems: readonly Problem[]): never => {
    throw problemsError(CODE, path, problems, ADVICE);
  };
  const { message, problems } = parsePrototxt(text);
  if (!message) return fail(problems);
  const reader = new MessageReader();
  const plain = reader.message(message, schema, []);
  const result = schema.safeParse(plain);
  // A value that was refused while reading is not refused again by the schema.
  const seen = new Set(reader.problems.map(({ line, column }) => `${line}:${column}`));
  const issues = result.success ? [] : result.error.issues.map((issue) => reader.describe(issue, plain));
  const all = [...reader.problems, ...issues.filter(({ line, column }) => !seen.has(`${line}:${column}`))];
  if (!result.success || all.length > 0) return fail(all);
  return { value: result.data, placeOf: (...steps) => reader.placeOf(steps) };
}

type Steps = readonly PropertyKey[];

const keyOf = (steps: Steps): string => JSON.stringify(steps.map(String));

class MessageReader {
  readonly problems: Problem[] = [];
  private readonly places = new Map<string, Place>();

  message(message: Message, schema: z.ZodObject, steps: Steps): Record<string, unknown> {
    this.places.set(keyOf(steps), message.place);
    const plain: Record<string, unknown> = {};
    for (const field of message.fields) {
      const type = Object.hasOwn(schema.shape, field.name) ? schema.shape[field.name] : undefined;
      if (type) this.field(field, unwrap(type), plain, steps);
      else this.unknown(field, Object.keys(schema.shape), steps);
    }
    return plain;
  }

  describe(issue: z.core.$ZodIssue, plain: unknown): Problem {
    const place = this.placeOf(issue.path);
    const { expected, options } = describeIssue(issue);
    const name = issue.path.filter((step) => typeof step === 'string').join('.') || 'the whole file';
    const found = issue.path.reduce<unknown>(
      (value, step) => (value as Record<PropertyKey, unknown> | undefined)?.[step],
      plain,
    );
    if (found === undefined) return { ...place, message: `lacks the setting ${name}`, expected };
    return {
      ...place,
      message: `has a wrong value for ${name}`,
      expected,
      found: shorten(typeof found === 'object' ? JSON.stringify(found) : String(found)),
      suggestions: nearMatches(shorten(String(found)), options, 1).map((match) => `Did you mean ${match}?`),
    };
  }

  placeOf(steps: Steps): Place {
    for (let length = steps.length; length >= 0; length--) {
      const place = this.places.get(keyOf(steps.slice(0, length)));
      if (place) return place;
    }
    return { line: 1, column: 1 };
  }

  private field(field: Field, type: z.core.$ZodType, plain: Record<string, unknown>, steps: Steps): void {
    const repeated = type instanceof z.ZodArray;
    const own = [...steps, field.name];
    if (!repeated) {
      const earlier = this.places.get(keyOf(own));
      if (earlier) {
        this.problems.push({
          ...field.place,
          message: `gives ${field.name} twice; line ${earlier.line} has it already`,
        });
        return;
      }
      // The place of the name stands for the field, that of the value for what is wrong with it.
      this.places.set(keyOf(own), field.value.place);
      plain[field.name] = this.value(field, type, own);
      return;
    }
    plain[field.name] ??= [];
    const list = plain[field.name] as unknown[];
    const at = [...own, list.length];
    this.places.set(keyOf(at), field.value.place);
    if (list.length === 0) this.places.set(keyOf(own), field.value.place);
    list.push(this.value(field, unwrap(type.element), at));
  }

  private value({ name, value }: Field, type: z.core.$ZodType, steps: Steps): unknown {
    if (value.kind === 'message') {
      if (type instanceof z.ZodObject) return this.message(value, type, steps);
      return this.wrong(value, name, type);
    }
    if (type instanceof z.ZodObject) return this.wrong(value, name, type);
    if (type instanceof z.ZodString && value.kind === 'word') {
      const suggestions = [`Write ${name}: "${shorten(String(value.value))}"`];
      this.problems.push({ ...value.place, message: `gives ${name} without quotes`, suggestions });
    }
    return value.value;
  }

  private wrong(value: Value, name: string, type: z.core.$ZodType): undefined {
    const expected = type instanceof z.ZodObject ? `${name} { … }` : 'a single value';
    const found = value.kind === 'message' ? 'a block { … }' : shorten(String(value.value));
    this.problems.push({ ...value.place, message: `has a wrong value for ${name}`, expected, found });
    return undefined;
  }

  private unknown(field: Field, known: string[], steps: Steps): void {
    const within = steps.filter((step) => typeof step === 'string').join('.');
    this.problems.push({
      ...field.place,
      message: `has an unknown setting${within ? ` in ${within}` : ''}: ${shorten(field.name)}`,
      expected: known.join(', '),
      suggestions: nearMatches(shorten(field.name), known, 1).map((match) => `Did you mean ${match}?`),
    });
  }
}

/** The schema behind optional and default. */
function unwrap(type: z.core.$ZodType): z.core.$ZodType {
  return type instanceof z.ZodOptional || type instanceof z.ZodDefault ? unwrap(type.def.innerType) : type;
}
