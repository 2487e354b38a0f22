// Writes docker/NAME.Dockerfile for every image from src/bridge/container/dockerfile.ts: `npm run dockerfiles`.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { dockerfile, IMAGES } from '../src/bridge/container/dockerfile.js';

const folder = join(import.meta.dirname, '..', 'docker');
for (const name of IMAGES) writeFileSync(join(folder, `${name}.Dockerfile`), dockerfile(name));
