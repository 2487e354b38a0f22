import { closeSync, openSync, readSync } from 'node:fs';
import { UserError } from '../errors.js';

/**
 * Refuses a text file as the converter's parameter file: that of the original tool is encrypted, so text is one of our
 * open formats, or a configuration.
 * @throws UserError CONVERT_COMPRESS_CONF
 */
export function checkCompressConf(path: string): void {
  const start = Buffer.alloc(512);
  const file = openSync(path, 'r');
  const length = readSync(file, start, 0, start.length, 0);
  closeSync(file);
  const text = start.subarray(0, length).toString('utf8').trimStart();
  const what = text.startsWith('{')
    ? 'JSON, like quant_params.json'
    : /^(record|strategy|preprocess_parameter|device)\b/.test(text)
      ? 'text, like a record file or a configuration'
      : length === 0
        ? 'empty'
        : null;
  if (what === null) return;
  throw new UserError('CONVERT_COMPRESS_CONF', `${path} is ${what}; the converter cannot read that.`, {
    place: path,
    expected: 'the encrypted parameter file that the original tool writes at --compress_conf',
    suggestions: [
      'Leave --compress-conf out: the network is then converted to float16 with weights on the int8 grid.',
      'Or run the original tool on the float network and give the file that it writes.',
    ],
  });
}
