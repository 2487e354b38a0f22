import { defineConfig } from 'vitest/config';

// Two projects: `unit` needs Node alone and answers in seconds; `flow` runs the built CLI with the real
// Python profile, native core and browser, and is what `npm test` adds.
export default defineConfig({
  test: {
    disableConsoleIntercept: true,
    // Tests that say that they may run beside each other start processes of their own: as many as there are cores on CI.
    maxConcurrency: 2,
    projects: [
      { extends: true, test: { name: 'unit', include: ['src/**/*.test.ts'], testTimeout: 20_000 } },
      {
        extends: true,
        test: {
          name: 'flow',
          include: ['test/**/*.test.ts'],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
