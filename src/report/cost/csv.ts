import type { CostResult } from '../../config/cost.js';

/** One row a kernel, target and precision, for spreadsheets. */
export function costCsv({ costs }: CostResult): string {
  const cell = (value: string | number | null): string => {
    const text = value === null ? '' : String(value);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const heads = [
    ...[
      'target',
      'precision',
      'kernel',
      'operator',
      'unit',
      'computed in',
      'ms',
      'bound',
      'utilisation',
      'macs',
    ],
    ...['weight bytes', 'external bytes', 'on-chip bytes', 'energy', 'nodes'],
  ];
  const rows = costs.flatMap(({ target, precision, layers }) =>
    layers.map((layer) => [
      ...[
        target,
        precision,
        layer.name,
        layer.op,
        layer.unit,
        layer.precision,
        layer.seconds * 1000,
        layer.bound,
      ],
      ...[layer.utilisation, layer.macs, layer.bytes.weights, layer.bytes.external, layer.bytes.onChip],
      ...[layer.energy, layer.nodes.join(' ')],
    ]),
  );
  return `${[heads, ...rows].map((row) => row.map(cell).join(',')).join('\n')}\n`;
}
