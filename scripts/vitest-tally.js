// Reporter of vitest for scripts/test.js: writes what became of the tests to the file named by DOPT_TALLY.
import { writeFileSync } from 'node:fs';

/** Why a test file skips is said by a line that it prints, "skipped: no Python …", where a test carries no note. */
const SAID = /^skipped\b.*$/im;

/** `{ passed, failed, skipped: [{ name, reason }], broken: [message] }`, as JSON. */
export default class Tally {
  said = new Map();

  onUserConsoleLog({ content, taskId }) {
    const reason = SAID.exec(content)?.[0];
    if (reason && taskId) this.said.set(taskId, reason);
  }

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
      const reason = note ?? this.said.get(module.id) ?? 'its condition is in the file';
      tally.skipped.push({ name: `${module.relativeModuleId} > ${test.fullName}`, reason });
    }
  }
}
