import { fitTarget, predictAll } from '../../../src/target/calibrate/fit-target.js';
import { loadTarget } from '../../../src/target/target-files.js';
import { measured } from './kirin9000.js';
import { markdown, milliseconds, type Places, type Section, signed } from './section.js';

/** Each network from the factors of Kirin 9000 and the time of one other network. */
async function measure({ root }: Places): Promise<string> {
  const { rows } = await measured(root, 'kirin990-5g');
  const target = loadTarget('kirin990-5g');
  const table = rows.flatMap((row) =>
    rows
      .filter(({ model }) => model !== row.model)
      .map((other) => {
        const [before] = predictAll(target, [row]);
        const [after] = predictAll(fitTarget(target, [other]).target, [row]);
        return [
          row.model.replace('zoo:', ''),
          other.model.replace('zoo:', ''),
          milliseconds(row.seconds),
          milliseconds(before!),
          milliseconds(after!),
          signed(after! / row.seconds - 1),
        ];
      }),
  );
  return markdown(['', 'measured before', 'ms', 'profile alone', 'after one network', 'error'], table);
}

export const kirin990: Section = {
  name: 'kirin990-5g',
  title: 'Kirin 990 5G: another chip after one measured network',
  measure,
};
