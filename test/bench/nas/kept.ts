import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import type { Judged } from './recipe.js';

/** What was found of networks, and took minutes each, in a file: a measurement that was cut off goes on with what it has. */
export class Kept {
  readonly #found: Record<string, Judged>;

  constructor(private readonly file: string) {
    this.#found = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Record<string, Judged>) : {};
  }

  get(key: string): Judged | undefined {
    return this.#found[key];
  }

  add(key: string, judged: Judged): void {
    this.#found[key] = judged;
    writeFileSync(this.file, JSON.stringify(this.#found));
  }
}
