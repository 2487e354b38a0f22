/** Writes docs/reference/*.md from the commands, the schemas and the errors in the source. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readSources, referencePages } from './reference/pages.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const pages = referencePages(root, await readSources(root));
for (const [path, text] of Object.entries(pages)) writeFileSync(join(root, path), text);
process.stdout.write(`${Object.keys(pages).length} pages written to docs/reference\n`);
