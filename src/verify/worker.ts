import { parentPort, workerData } from 'node:worker_threads';
import { evaluate } from './evaluate.js';
import { toMessage, type WorkerMessage, type WorkerRequest } from './messages.js';

/** Entry of the verification thread; started by verify.ts with a request as its data. */
const port = parentPort;
if (!port) throw new Error('worker.js runs in a worker thread only');
const send = (message: WorkerMessage): void => port.postMessage(message);

const { request, stopped } = workerData as WorkerRequest;

try {
  const value = await evaluate(request, (done, total, message) => {
    if (Atomics.load(stopped, 0) !== 0) throw new Error('stopped');
    send({ type: 'progress', done, total, message });
  });
  send({ type: 'result', value });
} catch (error) {
  send({ type: 'error', error: toMessage(error) });
}
