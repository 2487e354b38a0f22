/** One stage of work as the user sees it. */
export interface StageProgress {
  update(done: number, total: number | null, message?: string): void;
  /** Ends the stage; the summary stays on the screen. */
  done(summary?: string): void;
}

export interface Progress {
  stage(title: string): StageProgress;
  note(text: string): void;
  warn(text: string): void;
}

const seconds = (since: number): string => `${((performance.now() - since) / 1000).toFixed(1)} s`;

/** Says nothing; for --quiet and --json. */
export const silentProgress: Progress = {
  stage: () => ({ update: () => {}, done: () => {} }),
  note: () => {},
  warn: () => {},
};

/** Seconds between two lines about the same stage where lines cannot be rewritten. */
const PLAIN_INTERVAL = 10;

/** Share of the work from which on the time left is told. */
const TELLING = 0.05;

/** Progress on a stream: one live line a stage on a terminal, plain lines elsewhere. */
export function streamProgress(stream: NodeJS.WriteStream): Progress {
  const live = stream.isTTY === true;
  const line = (text: string): void => void stream.write(`${text}\n`);
  const clear = live ? '\r\u001b[K' : '';
  return {
    note: (text) => line(`${clear}  ${text}`),
    warn: (text) => line(`${clear}  warning: ${text}`),
    stage(title) {
      const start = performance.now();
      let last = start;
      if (live) stream.write(`… ${title}`);
      return {
        update(done, total, message = '') {
          const now = performance.now();
          const share = total ? `${Math.floor((100 * done) / total)} %` : `${done}`;
          // The first samples take what starting a framework takes, and tell nothing of the rest; a message may know better.
          const left =
            total && done / total >= TELLING && !message.endsWith(' left')
              ? `, ${(((now - start) / 1000 / done) * (total - done)).toFixed(0)} s left`
              : '';
          const text = `${title}: ${share}${left}${message ? `  ${message}` : ''}`;
          if (live && now - last > 80) {
            stream.write(`${clear}… ${text.slice(0, Math.max(20, (stream.columns ?? 80) - 4))}`);
            last = now;
          } else if (!live && now - last > PLAIN_INTERVAL * 1000) {
            line(`… ${text}`);
            last = now;
          }
        },
        done(summary) {
          line(`${clear}✓ ${title}${summary ? `: ${summary}` : ''} (${seconds(start)})`);
        },
      };
    },
  };
}
