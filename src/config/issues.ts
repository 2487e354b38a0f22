import { z } from 'zod';

/** Keys and indices from the outermost value inwards. */
export type Path = readonly PropertyKey[];

/** What a zod issue asks for, in words, and the values it allows where they can be listed. */
export function describeIssue(issue: z.core.$ZodIssue): { expected: string; options: string[] } {
  if (issue.code === 'invalid_value') return listed(issue.values.map(String));
  if (issue.code === 'invalid_union') {
    const { options } = issue as { options?: unknown[] };
    if (options) return listed(options.map(String));
    const branches = issue.errors.map((errors) => errors.map((error) => describeBranch(error)).join(' and '));
    return { expected: [...new Set(branches)].join(', or '), options: [] };
  }
  return { expected: describeOne(issue), options: [] };
}

const listed = (options: string[]): { expected: string; options: string[] } => ({
  expected: options.length === 1 ? options[0]! : `one of ${options.join(', ')}`,
  options,
});

function describeBranch(issue: z.core.$ZodIssue): string {
  const { expected } = describeIssue(issue);
  return issue.path.length > 0 ? `${expected} at [${issue.path.join('.')}]` : expected;
}

const TYPE_NAMES: Record<string, string> = {
  object: 'settings (name: value)',
  record: 'settings (name: value)',
  array: 'a list',
  tuple: 'a pair in brackets',
  string: 'text',
  int: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
};

function describeOne(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_type') return TYPE_NAMES[issue.expected] ?? issue.expected;
  if (issue.code === 'too_small' || issue.code === 'too_big') {
    const low = issue.code === 'too_small';
    const limit = low ? issue.minimum : issue.maximum;
    if (issue.origin === 'array')
      return issue.exact ? `exactly ${limit} items` : `at ${low ? 'least' : 'most'} ${limit} items`;
    if (issue.origin === 'string') return `at ${low ? 'least' : 'most'} ${limit} characters`;
    if (issue.inclusive) return `a number not ${low ? 'below' : 'above'} ${limit}`;
    return `a number ${low ? 'above' : 'below'} ${limit}`;
  }
  return issue.message;
}

/** Names that the schema allows at `path`; those of all branches where it has several. */
export function knownKeys(schema: z.ZodType, path: Path): string[] {
  const at = path.reduce<z.core.$ZodType[]>(
    (schemas, step) => schemas.flatMap((one) => childrenOf(one, step)),
    [schema],
  );
  return [...new Set(at.flatMap(objectsIn).flatMap((found) => Object.keys(found.shape)))];
}

function childrenOf(schema: z.core.$ZodType, step: PropertyKey): z.core.$ZodType[] {
  if (schema instanceof z.ZodRecord) return [schema.def.valueType];
  return objectsIn(schema).flatMap((object) => object.shape[String(step)] ?? []);
}

/** The object schemas behind optional, default, list and union. */
function objectsIn(schema: z.core.$ZodType): z.ZodObject[] {
  if (schema instanceof z.ZodObject) return [schema];
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodNullable
  )
    return objectsIn(schema.def.innerType);
  if (schema instanceof z.ZodUnion) return schema.def.options.flatMap(objectsIn);
  return [];
}
