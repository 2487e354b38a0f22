import { existsSync, readFileSync, writeFileSync } from 'node:fs';

/** Scores that took minutes each, in a file: a measurement that was cut off goes on with those it has. */
export class Kept {
  readonly #scores: Record<string, number>;

  constructor(private readonly file: string) {
    this.#scores = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Record<string, number>) : {};
  }

  get(key: string): number | undefined {
    return this.#scores[key];
  }

  add(key: string, score: number): void {
    this.#scores[key] = score;
    writeFileSync(this.file, JSON.stringify(this.#scores));
  }
}
