import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import type { Manifest } from '../config/manifest.js';
import { EXIT, UserError } from '../errors.js';
import { copyFileAtomic, diskError, makeFolder, writeFileAtomic } from './atomic.js';
import { digestOf, fileDigest } from './digest.js';
import { lockRun, refuseLocked } from './lock.js';
import { holdsWork, readManifest, refuseForeign, refuseInputs } from './out-folder.js';

export interface RunOptions {
  /** Continue a run that is there; without it only one that was refused for the user's mistake is continued. */
  resume: boolean;
  /** Files and folders that the run reads: the run folder may neither be one of them nor lie inside one. */
  inputs: readonly string[];
  /** Command line, program name first. */
  command: readonly string[];
  version: string;
}

export interface StageRecord {
  name: string;
  seconds: number;
  reused: boolean;
  /** Largest resident set of the stage's Python jobs; null where it had none. */
  peakBytes: number | null;
}

/** What a finished stage leaves in its stage.json. */
interface StageFile {
  key: string;
  result: unknown;
  seconds: number;
  peakBytes: number | null;
  outputs: { path: string; bytes: number; sha256: string }[];
}

/**
 * The folder of one run. Stages work in `stages/NAME`; a finished stage has a stage.json with the digest of everything
 * that decided it, written last, so that a run that was killed anywhere continues where it was.
 */
export class Run {
  readonly stages: StageRecord[] = [];
  /** Most memory that a job of the running stage has had. */
  private peak: number | null = null;
  /** Keys of the stages that were finished since the run was opened, by their names. */
  private readonly finished = new Map<string, string>();
  /** Stages of a variant that the whole run had finished already. */
  private readonly shared = new Set<string>();

  private constructor(
    readonly folder: string,
    private readonly resume: boolean,
    private readonly release: () => void,
    private readonly manifest: Manifest,
    /** For a variant: the run that it is one of, and what its stages are called by. */
    private readonly whole: Run | null = null,
    private readonly prefix = '',
  ) {}

  /**
   * Opens a new folder, or with `resume` an interrupted or finished run. One that a mistake of the user's ended at its very
   * beginning is resumed unasked: who corrects a path repeats the command.
   * @throws UserError OUT_INSIDE_INPUT, OUT_NOT_A_RUN, OUT_EXISTS, RUN_LOCKED; EnvironmentError DISK_WRITE
   */
  static async open(out: string, options: RunOptions): Promise<Run> {
    const folder = resolve(out);
    const lock = join(folder, '.lock');
    refuseInputs(folder, options.inputs);
    refuseLocked(lock, folder);
    const resume = options.resume || readManifest(folder)?.refused !== undefined;
    refuseForeign(folder, resume);
    try {
      makeFolder(join(folder, 'stages'));
      const release = lockRun(lock, folder);
      const manifest: Manifest = {
        version: 1,
        dopt: options.version,
        state: 'running',
        command: [...options.command],
        cwd: process.cwd(),
        started: new Date().toISOString(),
        finished: null,
        details: {},
        files: {},
      };
      sweepPartials(folder);
      const run = new Run(folder, resume, release, manifest);
      await run.writeManifest();
      run.event('start', { command: options.command });
      return run;
    } catch (error) {
      throw diskError(error, folder);
    }
  }

  /** Whether what an earlier run left in the folder is taken over. */
  get resumes(): boolean {
    return this.resume;
  }

  /** Where a stage's files are. */
  stageFolder(name: string): string {
    if (this.whole && this.shared.has(name)) return this.whole.stageFolder(name);
    return join(this.folder, 'stages', this.prefix + name);
  }

  /**
   * The same run for a variant of its work, such as a trial of other settings: its stages are kept apart, in folders that
   * begin with `name.`, but a stage that the run itself has finished with the same key is taken from there.
   */
  variant(name: string): Run {
    return new Run(this.folder, this.resume, this.release, this.manifest, this, `${name}.`);
  }

  /**
   * Runs a stage, or takes over what it left when its key and its files are the same: what it has left since the run was
   * opened, with `resume` also what it left before.
   * @param key everything that decides the result: settings, and digests of what earlier stages left
   * @param work gets the stage's folder, empty, and returns a JSON value
   */
  async stage<T>(
    name: string,
    key: unknown,
    work: (folder: string) => Promise<T>,
  ): Promise<{ value: T; digest: string }> {
    const digest = digestOf({ name, key });
    const common = this.whole && (await finishedStage(this.whole.stageFolder(name), digest));
    if (common) {
      this.shared.add(name);
      return { value: common.result as T, digest: digestOf(common.outputs) };
    }
    const folder = this.stageFolder(name);
    const again = this.finished.get(name) === digest;
    const found = this.resume || again ? await finishedStage(folder, digest) : null;
    if (found && again) return { value: found.result as T, digest: digestOf(found.outputs) };
    if (found) {
      this.finished.set(name, digest);
      const { seconds, peakBytes } = found;
      this.stages.push({ name, seconds, reused: true, peakBytes });
      this.event('stage-reused', { stage: this.prefix + name });
      return { value: found.result as T, digest: digestOf(found.outputs) };
    }
    const started = performance.now();
    try {
      rmSync(folder, { recursive: true, force: true });
      mkdirSync(folder);
      this.event('stage-start', { stage: this.prefix + name });
      this.peak = null;
      const value = await work(folder);
      const peakBytes = this.peak;
      const seconds = (performance.now() - started) / 1000;
      const outputs = await digests(folder);
      const file: StageFile = { key: digest, result: value, seconds, peakBytes, outputs };
      await writeFileAtomic(join(folder, 'stage.json'), `${JSON.stringify(file, null, 1)}\n`);
      this.finished.set(name, digest);
      this.stages.push({ name, seconds, reused: false, peakBytes });
      this.event('stage-done', { stage: this.prefix + name, seconds, peakBytes });
      return { value, digest: digestOf(outputs) };
    } catch (error) {
      throw diskError(error, folder);
    }
  }

  /** Notes the memory that a job of the running stage needed. */
  used(peakBytes: number): void {
    this.peak = Math.max(this.peak ?? 0, peakBytes);
  }

  /** Gives a file its final name in the run folder, whole. */
  async publish(from: string, name: string): Promise<void> {
    await copyFileAtomic(from, join(this.folder, name));
  }

  /** Writes a result under its final name, whole. */
  async write(name: string, content: string | Uint8Array): Promise<void> {
    await writeFileAtomic(join(this.folder, name), content);
  }

  /** Sizes and digests of results, by the names they have in the run folder. */
  async digests(
    names: readonly string[],
  ): Promise<Record<string, { path: string; bytes: number; sha256: string }>> {
    const list = await Promise.all(
      names.map(async (name) => ({ ...(await fileDigest(join(this.folder, name))), path: name })),
    );
    return Object.fromEntries(list.map((file) => [file.path, file]));
  }

  /** One line in events.ndjson. */
  event(type: string, fields: Record<string, unknown> = {}): void {
    appendFileSync(
      join(this.folder, 'events.ndjson'),
      `${JSON.stringify({ time: new Date().toISOString(), type, ...fields })}\n`,
    );
  }

  /** Marks the run as finished and gives the folder free. */
  async finish(details: Record<string, unknown>, files: Manifest['files']): Promise<void> {
    Object.assign(this.manifest, { state: 'finished', finished: new Date().toISOString(), details, files });
    await this.writeManifest();
    this.event('finish');
    this.release();
  }

  /** Gives the folder free after an error; what stages left stays for `--resume`. */
  async abandon(error: unknown): Promise<void> {
    Object.assign(this.manifest, { state: 'interrupted', finished: new Date().toISOString() });
    const mistake = error instanceof UserError && error.exitCode !== EXIT.interrupted;
    if (mistake && !holdsWork(this.folder)) this.manifest.refused = error.code;
    try {
      await this.writeManifest();
      this.event('error', { message: error instanceof Error ? error.message : String(error) });
    } catch {
      // The disk may be why we are here; the first error is the one to report.
    }
    this.release();
  }

  private async writeManifest(): Promise<void> {
    await writeFileAtomic(join(this.folder, 'manifest.json'), `${JSON.stringify(this.manifest, null, 1)}\n`);
  }
}

/** Removes what a killed run was writing under a name that is not final. */
function sweepPartials(folder: string): void {
  for (const name of readdirSync(folder).filter((entry) => /\.\d+\.partial$/.test(entry)))
    rmSync(join(folder, name), { force: true });
}

/** What a stage left, when its key is the same and every file is as it was. */
async function finishedStage(folder: string, key: string): Promise<StageFile | null> {
  let file: StageFile;
  try {
    file = JSON.parse(readFileSync(join(folder, 'stage.json'), 'utf8')) as StageFile;
  } catch {
    return null;
  }
  if (file.key !== key) return null;
  for (const output of file.outputs) {
    const path = join(folder, output.path);
    if (!existsSync(path) || (await fileDigest(path)).sha256 !== output.sha256) return null;
  }
  return file;
}

/** All files below a folder with their digests, sorted by path; logs say when something ran and do not count. */
async function digests(folder: string): Promise<StageFile['outputs']> {
  const paths = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.endsWith('.log'))
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .sort();
  return Promise.all(paths.map(async (path) => ({ ...(await fileDigest(join(folder, path))), path })));
}
