/** A JSON Schema as zod writes it, as far as it is read here. */
interface Schema {
  title?: string;
  type?: string | string[];
  description?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema | Schema[];
  anyOf?: Schema[];
  oneOf?: Schema[];
  allOf?: Schema[];
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  additionalProperties?: Schema | boolean;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  $ref?: string;
  definitions?: Record<string, Schema>;
}

/** Files that people write, and files that dopt writes and people or programs read; the others are between its stages. */
const WRITTEN = ['recipe', 'scenario', 'llm_config', 'plugin_config', 'target'];
const READ = [
  'result',
  'quant_params',
  'manifest',
  'analysis',
  'cost',
  'llm_result',
  'llm_artifact',
  'search_event',
];

/** docs/reference/files.md: a table for each published schema, from their texts by file name. */
export function filesPage(schemas: Readonly<Record<string, string>>): string {
  const names = Object.keys(schemas).map((file) => file.replace(/\.json$/, ''));
  const stages = names.filter((name) => !WRITTEN.includes(name) && !READ.includes(name)).sort();
  const read = (name: string): Schema => JSON.parse(schemas[`${name}.json`]!) as Schema;
  return [
    '# Files',
    '',
    'Fields of the files that you write and of those that you read. Each has a JSON Schema in [schemas](../../schemas); in a YAML',
    'file, the line `# yaml-language-server: $schema=PATH` lets an editor check and complete it. `[]` stands for each item of a',
    'list, `*` for any name, **bold** fields are needed.',
    '',
    '# Files that you write',
    '',
    ...WRITTEN.flatMap((name) => section(name, read(name))),
    '# Files that dopt writes',
    '',
    ...READ.flatMap((name) => section(name, read(name))),
    '## Between the stages of a run',
    '',
    'These may change from version to version; their schemas say what is in them.',
    '',
    ...stages.map((name) => `- [${name}](../../schemas/${name}.json): ${read(name).title}`),
    '',
  ].join('\n');
}

function section(name: string, schema: Schema): string[] {
  const rows: string[] = [];
  collect(schema, schema, '', rows, 0);
  return [
    `## ${name}`,
    '',
    `${schema.title} ([schema](../../schemas/${name}.json))`,
    '',
    '| field | type | default | |',
    '|---|---|---|---|',
    ...rows,
    '',
  ];
}

/** Deeper fields are left to the schema. */
const DEPTH = 4;

function collect(root: Schema, schema: Schema, path: string, rows: string[], depth: number): void {
  const seen = resolve(root, schema);
  const variants = seen.anyOf ?? seen.oneOf ?? seen.allOf;
  if (variants) {
    const objects = variants.map((one) => resolve(root, one));
    for (const one of objects) {
      const kind = discriminator(one);
      if (kind) rows.push(`| *${path} where ${kind}* | | | ${cell(one.description)} |`);
      collect(root, one, path, rows, depth);
    }
    return;
  }
  if (seen.items && !Array.isArray(seen.items)) collect(root, seen.items, `${path}[]`, rows, depth);
  if (typeof seen.additionalProperties === 'object') {
    const below = path === '' ? '*' : `${path}.*`;
    row(root, below, seen.additionalProperties, false, rows);
    if (depth < DEPTH) collect(root, seen.additionalProperties, below, rows, depth + 1);
  }
  for (const [key, value] of Object.entries(seen.properties ?? {})) {
    const below = path === '' ? key : `${path}.${key}`;
    const needed = seen.required?.includes(key) === true && value.default === undefined;
    row(root, below, value, needed, rows);
    if (depth < DEPTH) collect(root, value, below, rows, depth + 1);
  }
}

const discriminator = (schema: Schema): string | null => {
  const found = Object.entries(schema.properties ?? {}).find(([, value]) => value.const !== undefined);
  return found ? `${found[0]}: ${String(found[1].const)}` : null;
};

function row(root: Schema, path: string, value: Schema, needed: boolean, rows: string[]): void {
  const fallback = value.default === undefined ? '' : `\`${JSON.stringify(value.default)}\``;
  const name = needed ? `**\`${path}\`**` : `\`${path}\``;
  rows.push(
    `| ${name} | ${cell(typeOf(root, value))} | ${cell(fallback)} | ${cell(describe(root, value))} |`,
  );
}

const describe = (root: Schema, value: Schema): string =>
  value.description ?? resolve(root, value).description ?? '';

function typeOf(root: Schema, value: Schema, depth = 0): string {
  const schema = resolve(root, value);
  if (schema.const !== undefined) return `\`${JSON.stringify(schema.const)}\``;
  if (schema.enum) return schema.enum.map((one) => `\`${String(one)}\``).join(', ');
  const variants = schema.anyOf ?? schema.oneOf;
  if (variants) return [...new Set(variants.map((one) => typeOf(root, one, depth + 1)))].join(' or ');
  if (Array.isArray(schema.items)) return `list of ${schema.items.length}`;
  if (schema.items && depth < 2) return `list of ${typeOf(root, schema.items, depth + 1)}`;
  if (schema.additionalProperties && typeof schema.additionalProperties === 'object') return 'map';
  const type = [schema.type ?? 'any'].flat().join(' or ');
  return `${type === 'array' ? 'list' : type === 'string' ? 'text' : type}${bounds(schema)}`;
}

/** Bounds that say something: those of the integers of JavaScript do not. */
function bounds({ minimum, maximum, exclusiveMinimum }: Schema): string {
  const low = minimum !== undefined && Math.abs(minimum) < 2 ** 53 - 1 ? `≥ ${minimum}` : '';
  const above =
    exclusiveMinimum !== undefined && exclusiveMinimum > -(2 ** 53 - 1) ? `> ${exclusiveMinimum}` : '';
  const high = maximum !== undefined && maximum < 2 ** 53 - 1 ? `≤ ${maximum}` : '';
  const text = [low, above, high].filter(Boolean).join(', ');
  return text && ` ${text}`;
}

function resolve(root: Schema, schema: Schema): Schema {
  if (schema.$ref === undefined) return schema;
  const name = schema.$ref.split('/').at(-1)!;
  return root.definitions?.[name] ?? {};
}

const cell = (text = ''): string => text.replaceAll('|', '\\|').replace(/\s*\n\s*/g, ' ');
