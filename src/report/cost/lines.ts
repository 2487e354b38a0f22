import type { CostOfNetwork, CostResult, LayerCost } from '../../config/cost.js';
import { amount, basisText, bytes, milliseconds, percent } from '../format.js';

/** The cost whose layers are told of: INT8 on the first target, or what is fastest there. */
export function told({ costs }: CostResult): CostOfNetwork {
  const own = costs.filter(({ target }) => target === costs[0]!.target);
  return (
    own.find(({ precision }) => precision === 'int8') ??
    own.reduce((best, cost) => (cost.seconds < best.seconds ? cost : best))
  );
}

/** What limits a kernel, in words. */
export const BOUNDS: Record<LayerCost['bound'], string> = {
  matrix: 'matrix unit',
  vector: 'vector unit',
  external: 'external memory',
  onChip: 'memory on chip',
  buffers: 'buffers',
  overhead: 'start',
  host: 'host',
};

/** A cost in lines: totals, the slowest layers of one of them, what to change, and what it rests on. */
export function costLines(result: CostResult, most: number): string[] {
  const { model, costs, warnings } = result;
  const cost = told(result);
  return [
    `${model.name}: ${amount(model.macs)} multiplications, ${amount(model.parameters)} parameters`,
    ...model.notes.map((note) => `note: ${note}`),
    ...warnings.map((warning) => `warning: ${warning}`),
    '',
    ...table([
      ['target', 'precision', 'ms', '90 % lie in', 'energy', 'weights', 'arena', 'peak at', ''],
      ...costs.map((one) => totals(one, costs[0]!)),
    ]),
    ...(most > 0 ? ['', ...layerLines(cost, most)] : []),
    ...(cost.advice.length > 0
      ? ['', `What to change (${cost.target}, ${cost.precision}):`, ...adviceLines(cost)]
      : []),
    ...restsOnLines(cost),
  ];
}

function totals(cost: CostOfNetwork, first: CostOfNetwork): string[] {
  const { target, precision, seconds, interval, energy, memory, measured } = cost;
  return [
    target,
    precision,
    milliseconds(seconds),
    `${milliseconds(interval[0])} to ${milliseconds(interval[1])}`,
    target === first.target ? (energy / first.energy).toFixed(2) : '',
    bytes(memory.weights),
    bytes(memory.arena),
    memory.peak.layer,
    basisText(measured),
  ];
}

function layerLines({ target, precision, layers, seconds }: CostOfNetwork, most: number): string[] {
  const slowest = [...layers].sort((a, b) => b.seconds - a.seconds).slice(0, most);
  const shown = slowest.length < layers.length ? `the ${slowest.length} slowest of ${layers.length}` : 'all';
  return [
    `Kernels on ${target} in ${precision}, ${shown}:`,
    ...table([
      ['kernel', 'operator', 'in', 'ms', 'share', 'bound by', 'utilisation', 'weights', 'activations'],
      ...slowest.map((layer) => [
        layer.name,
        layer.op,
        layer.precision,
        milliseconds(layer.seconds),
        percent(layer.seconds / seconds),
        BOUNDS[layer.bound],
        layer.utilisation === null ? '' : percent(layer.utilisation, 0),
        layer.bytes.weights > 0 ? bytes(layer.bytes.weights) : '',
        bytes(layer.bytes.external + layer.bytes.onChip),
      ]),
    ]),
  ];
}

const adviceLines = ({ advice, seconds }: CostOfNetwork): string[] =>
  advice.map(
    ({ layer, message, gain }, index) =>
      `${index + 1}. ${layer}: ${message} Saves ${milliseconds(gain)} ms (${percent(gain / seconds)}).`,
  );

/** Most assumed values that are named; the report has all. */
const NAMED = 6;

function restsOnLines({ restsOn }: CostOfNetwork): string[] {
  const assumed = restsOn.filter(({ status }) => status === 'assumed');
  if (assumed.length === 0) return [];
  const named = assumed
    .slice(0, NAMED)
    .map(({ value, elasticity }) => `${value} ${elasticity > 0 ? '+' : ''}${elasticity.toFixed(2)} %`);
  const more = assumed.length > NAMED ? ` and ${assumed.length - NAMED} more` : '';
  return [
    '',
    'Rests on assumed values; one per cent more of each changes the time by:',
    `${named.join(', ')}${more}`,
  ];
}

/** Rows as lines with aligned columns. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd(),
  );
}
