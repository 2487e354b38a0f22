// Reporter of vitest for scripts/test.js: writes what became of the tests to the file named by DOPT_TALLY.
import { writeFileSync } from 'node:fs';

/** `{ passed, failed, skipped: [{ name, file, reason }], broken: [message] }`, as JSON; a reason is a test's own note. */
export default class Tally {
  onTestRunEnd(modules, unhandled, reason) {
    const tally = { passed: 0, failed: 0, skipped: [], broken: unhandled.map(({ message }) => message) };
    for (const module of modules) {
      // A file that cannot be loaded, or whose hooks fail, may hold no failed test.
      for (const { message } of module.errors()) tally.broken.push(`${module.relativeModuleId}: ${message}`);
      for (const suite of module.children.allSuites()) {
        for (const { message } of suite.errors()) tally.broken.push(`${suite.fullName}: ${message}`);
      }
      for (const test of module.children.allTests()) this.count(tally, module, test);
    }
    if (reason === 'interrupted') tally.broken.push('interrupted');
    writeFileSync(process.env.DOPT_TALLY, JSON.stringify(tally));
  }

  count(tally, module, test) {
    const { state, note } = test.result();
    if (state === 'passed') tally.passed += 1;
    else if (state === 'failed') tally.failed += 1;
    else {
      const file = module.relativeModuleId;
      tally.skipped.push({ name: `${file} > ${test.fullName}`, file, reason: note ?? null });
    }
  }
}
