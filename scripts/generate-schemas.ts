/** Writes schemas/*.json, and the Python package's copies, from the zod schemas in src/config; removes what is no longer published. */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { publishedSchemas, pythonSchemas } from '../src/config/json-schema.js';

const folder = fileURLToPath(new URL('../schemas', import.meta.url));
const schemas = publishedSchemas();

mkdirSync(folder, { recursive: true });
for (const name of readdirSync(folder)) {
  if (name.endsWith('.json') && !(name in schemas)) rmSync(join(folder, name));
}
for (const [name, text] of Object.entries(schemas)) writeFileSync(join(folder, name), text);
for (const [path, text] of Object.entries(pythonSchemas()))
  writeFileSync(fileURLToPath(new URL(`../${path}`, import.meta.url)), text);
process.stdout.write(`${Object.keys(schemas).length} schemas written to ${folder}\n`);
