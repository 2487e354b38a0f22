import { toNumber } from '../../src/config/common.js';
import type { Score, Verification } from '../../src/config/verification.js';
import type { Row, Scope } from './rows.js';

const plusMinus = (value: number, error: number | null | undefined): string =>
  error == null ? value.toFixed(1) : `${value.toFixed(1)} ± ${error.toFixed(1)}`;

/** The score of the task to judge by, where there are labels. */
const taskScore = ({ task }: Verification): Score | undefined =>
  task?.scores.find(({ float }) => float !== null);

/** Share of decisions like the float model's in percent, with its standard error. */
export function agreementText({ task, outputs }: Verification): string {
  const boxes = task?.scores.find(({ float }) => float === null);
  if (boxes) return plusMinus(boxes.quantized, boxes.standardErrors?.quantized);
  const agreement = outputs.find((output) => output.agreement !== null)?.agreement;
  if (!agreement) return '–';
  const { share, standardError } = agreement;
  return plusMinus(100 * share, standardError === null ? null : 100 * standardError);
}

/** SQNR in dB at each output. */
export const sqnrText = ({ outputs }: Verification): string =>
  outputs.map(({ similarity }) => toNumber(similarity.sqnr).toFixed(1)).join(' / ');

/** Float → quantized; the standard error is that of the difference, both models scored on the same draws of samples. */
function taskText(verification: Verification): string {
  const score = taskScore(verification);
  if (!score) return '–';
  const error = score.standardErrors?.difference;
  return `${score.float!.toFixed(1)} → ${score.quantized.toFixed(1)}${error == null ? '' : ` ± ${error.toFixed(1)}`}`;
}

function layersText({ layers, inputs, weights, channels, outputs }: Scope): string {
  const notes = [
    ...(channels < weights ? [`${weights - channels} with one scale`] : []),
    ...(outputs > 0 ? ['outputs too'] : []),
  ];
  return `${Math.min(inputs, weights)} of ${layers}${notes.length > 0 ? ` (${notes.join(', ')})` : ''}`;
}

function line({ tool, measured, failure }: Row): string {
  if (!measured) return `| ${tool} | ${failure} | | | | | | |`;
  const { verification, scope, seconds, peakBytes } = measured;
  const cells = [
    ...[tool, taskText(verification), agreementText(verification), sqnrText(verification)],
    ...[layersText(scope), `${scope.float} of ${scope.others}`],
    ...[seconds.toFixed(0), (peakBytes / 1e6).toFixed(0)],
  ];
  return `| ${cells.join(' | ')} |`;
}

/** One network, a row a tool, as Markdown. */
export function modelTable(name: string, rows: readonly Row[]): string {
  const any = rows.find(({ measured }) => measured)?.measured?.verification;
  const metric = (any && taskScore(any)?.name) ?? 'task';
  const head = [
    ...['', `${metric}, float → INT8`, 'same decision %', 'SQNR dB', 'layers in 8 bits'],
    ...['other operators in float', 'seconds', 'MB'],
  ];
  return [
    `### ${name}`,
    '',
    `| ${head.join(' | ')} |`,
    `|${'---|'.repeat(head.length)}`,
    ...rows.map(line),
  ].join('\n');
}

/** Networks as columns, what was left out as rows; `rows` by network. */
export function ablationTable(
  variants: readonly string[],
  networks: readonly { name: string; rows: readonly Row[] }[],
): string {
  const cell = ({ measured, failure }: Row): string => {
    if (!measured) return failure!;
    const { verification } = measured;
    return `${sqnrText(verification)} dB, ${agreementText(verification)} %`;
  };
  return [
    `| | ${networks.map(({ name }) => name).join(' | ')} |`,
    `|${'---|'.repeat(networks.length + 1)}`,
    ...variants.map(
      (variant, i) => `| ${variant} | ${networks.map(({ rows }) => cell(rows[i]!)).join(' | ')} |`,
    ),
  ].join('\n');
}
