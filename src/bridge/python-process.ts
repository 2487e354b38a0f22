import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import type { Socket } from 'node:net';
import { OutputTail } from './output-tail.js';
import { died, notStarted } from './python-errors.js';

/** The parts of pythonia (1.2.6, pinned) that are used; it ships no types for them. */
interface PythoniaMessage {
  /** Number of the request, or of the callback channel `c`. */
  r?: number;
  c?: string;
}
interface PythoniaCom {
  start(): void;
  recieve(message: PythoniaMessage): void;
  register(id: number | string, handler: (message: PythoniaMessage) => boolean | undefined): void;
}
interface PythoniaBridge {
  call(
    object: number,
    path: string[],
    args: string[],
    kwargs: object,
    set: false,
    timeout: number,
  ): Promise<unknown>;
  end(): void;
  loop: NodeJS.Timeout;
}

/** pythonia's number for the object that holds Python's builtins and its own `python` (import) function. */
const ROOT_OBJECT = 0;

/**
 * One interpreter under pythonia.
 *
 * pythonia's own entry spawns Python on import, without a way to pass an environment, and shares our standard output
 * with it. So its transport is subclassed here: own spawn, own streams, and sending over Node's public `send`. Requests
 * never use pythonia's timeouts, which leave a dead child unnoticed; every call races with the end of the process.
 */
export class PythonProcess {
  readonly #python: string;
  readonly #child: ChildProcess;
  readonly #bridge: PythoniaBridge;
  readonly #output = new OutputTail();
  /** Rejects when the process is gone; never resolves. */
  readonly #gone: Promise<never>;
  #method = 'start';
  /** Handle of the imported module; pythonia drops the Python object when this one is collected. */
  #worker: { ffid: number } | undefined;
  #alive = true;

  constructor(python: string, env: Record<string, string>) {
    this.#python = python;
    const require = createRequire(import.meta.url);
    const { StdioCom } = require('pythonia/src/pythonia/IpcPipeCom.js') as {
      StdioCom: new () => PythoniaCom;
    };
    const { Bridge } = require('pythonia/src/pythonia/Bridge.js') as {
      Bridge: new (com: PythoniaCom) => PythoniaBridge;
    };
    const child = spawn(python, [require.resolve('pythonia/src/pythonia/interface.py')], {
      env,
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    this.#child = child;
    class OwnedCom extends StdioCom {
      handlers: object = {};
      override start(): void {
        child.on('message', (message) => this.recieve(message as PythoniaMessage));
      }
      write(message: object, handler?: (answer: PythoniaMessage) => boolean | undefined): void {
        if (handler) this.register((message as PythoniaMessage).r!, handler);
        // A failed send is no event of its own: the process is gone then, and that is told by `exit`.
        if (child.connected) child.send(message, () => {});
      }
      writeRaw(json: string, id: number, handler: (answer: PythoniaMessage) => boolean | undefined): void {
        this.register(id, handler);
        this.write(JSON.parse(json) as object);
      }
    }
    this.#bridge = new Bridge(new OwnedCom());
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.on('data', (chunk: Buffer) => this.#output.push(chunk));
    }
    this.#gone = this.#watch();
    this.#gone.catch(() => {}); // nobody may be waiting when it ends
    this.#hold(false);
  }

  get alive(): boolean {
    return this.#alive;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Last 64 KiB that Python printed. */
  get output(): string {
    return this.#output.text();
  }

  /** Calls `dopt.worker.invoke` and resolves with its JSON text; rejects as soon as the process ends. */
  async invoke(method: string, params: string): Promise<string> {
    this.#method = method;
    this.#hold(true);
    try {
      this.#worker ??= await this.#import();
      return (await this.#call(this.#worker.ffid, ['invoke'], [method, params])) as string;
    } finally {
      this.#hold(false);
    }
  }

  /** Asks the running call to stop; the process lives on if Python gets to see the signal. */
  cancel(): void {
    this.#child.kill('SIGINT');
  }

  /** Ends the process and resolves when it is gone. */
  async kill(): Promise<void> {
    if (!this.#alive) return;
    this.#hold(true);
    // SIGTERM would do nothing more: the worker leaves it at its default, and files are written under other names first.
    this.#child.kill('SIGKILL');
    await this.#gone.catch(() => {});
  }

  async #import(): Promise<{ ffid: number }> {
    const module = (await this.#call(ROOT_OBJECT, ['python'], ['dopt.worker'])) as { ffid: number };
    await this.#call(module.ffid, ['start'], []);
    return module;
  }

  #call(object: number, path: string[], args: string[]): Promise<unknown> {
    return Promise.race([
      this.#bridge.call(object, path, args, {}, false, Number.POSITIVE_INFINITY),
      this.#gone,
    ]);
  }

  #watch(): Promise<never> {
    return new Promise((_, reject) => {
      const end = (error: Error) => {
        this.#alive = false;
        this.#bridge.end();
        for (const stream of [this.#child.stdout, this.#child.stderr]) stream?.destroy();
        reject(error);
      };
      this.#child.once('error', (error) => end(notStarted(this.#python, error)));
      this.#child.once('exit', (exitCode, signal) => {
        this.#alive = false;
        // What it printed last is still in the pipes; a grandchild that keeps them open must not keep us waiting.
        const drained = Promise.all(
          [this.#child.stdout!, this.#child.stderr!].map((stream) => stream.closed || once(stream, 'close')),
        );
        const patience = new Promise((resolve) => setTimeout(resolve, 100));
        void Promise.race([drained, patience]).then(() => {
          const printed = { lastLines: this.#output.lastLines(5), output: this.output };
          end(died(this.#method, { exitCode, signal }, printed));
        });
      });
    });
  }

  /** Keeps Node alive while a call runs, and only then: a runtime that was never closed does not stop Node's exit. */
  #hold(busy: boolean): void {
    const change = busy ? 'ref' : 'unref';
    this.#child[change]();
    this.#child.channel?.[change]();
    this.#bridge.loop[change]();
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      (stream as Socket | null)?.[change]();
    }
  }
}
