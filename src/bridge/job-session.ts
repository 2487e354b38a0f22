import { encodeParams, openEnvelope } from './codec.js';
import {
  type JobOptions,
  type JobProcess,
  type ReportEvent,
  settle,
  startJobProcess,
} from './job-process.js';
import { runJob } from './jobs.js';
import { type Interpreter, launch, type Started } from './launch.js';
import type { MethodName, Params, Result } from './protocol.js';
import { interrupted } from './python-errors.js';

/**
 * A Python process for long methods, one after the other: what a method keeps (`Events.keep`) is there for the next one. It
 * starts with the first method, and again after it died. In a container each method is a job of its own: what it sees of this
 * machine is settled when it starts.
 */
export class JobSession {
  #process: JobProcess | null = null;
  #onEvent: (event: ReportEvent) => void = () => {};
  #onAnswer: (answer: unknown) => void = () => {};

  constructor(
    private readonly environment: Interpreter,
    private readonly options: Omit<JobOptions, 'onEvent' | 'onPrinted'>,
    /** What answers methods in the place of `dopt.job --serve`, and speaks as it does. */
    private readonly server: Pick<Started, 'module' | 'argument'> = { argument: '--serve' },
  ) {}

  /** Resolves and rejects as `runJob` does. One method at a time. */
  async run<M extends MethodName>(
    method: M,
    params: Params<M>,
    onEvent: (event: ReportEvent) => void,
  ): Promise<Result<M>> {
    if (this.options.signal?.aborted) throw interrupted(method);
    if (this.environment.container)
      return runJob(this.environment, method, params, { ...this.options, onEvent });
    this.#onEvent = onEvent;
    const answered = new Promise<unknown>((resolve) => {
      this.#onAnswer = resolve;
    });
    this.#process ??= await startJobProcess(
      launch(this.environment, { ...this.server, method, params }, this.options),
      { ...this.options, onEvent: (event) => this.#onEvent(event) },
      (answer) => this.#onAnswer(answer),
    );
    const { ended, send } = this.#process;
    send(`{"method":${JSON.stringify(method)},"params":${encodeParams(method, params)}}\n`);
    const gone = Symbol('gone');
    const outcome = await Promise.race([answered, ended.then(() => gone)]);
    if (outcome !== gone) return openEnvelope(method, outcome);
    this.#process = null;
    // An answer of an earlier method is none to this one.
    return settle(method, this.environment, { ...(await ended), answer: undefined });
  }

  /** Ends the process, if there is one. */
  async close(): Promise<void> {
    this.#process?.stop('cancel');
    await this.#process?.ended;
    this.#process = null;
  }
}
