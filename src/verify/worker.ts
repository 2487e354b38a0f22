import { parentPort, workerData } from 'node:worker_threads';
import { evaluate, type VerifyRequest } from './evaluate.js';
import { toMessage, type WorkerMessage } from './messages.js';

/** Entry of the verification thread; started by verify.ts with a request as its data. */
const port = parentPort;
if (!port) throw new Error('worker.js runs in a worker thread only');
const send = (message: WorkerMessage): void => port.postMessage(message);

try {
  const value = await evaluate(workerData as VerifyRequest, (done, total, message) =>
    send({ type: 'progress', done, total, message }),
  );
  send({ type: 'result', value });
} catch (error) {
  send({ type: 'error', error: toMessage(error) });
}
