import { defineConfig } from 'vitest/config';

// Two projects: `unit` needs Node alone and answers in seconds; `flow` runs the built CLI with the real
// Python profile, native core and browser, and is what `npm test` adds.
export default defineConfig({
  test: {
    disableConsoleIntercept: true,
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
