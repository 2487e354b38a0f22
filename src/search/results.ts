import { mkdirSync, readFileSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { renderSearch } from '../report/search/page.js';
import { writeFileAtomic } from '../run/atomic.js';
import { VERSION } from '../version.js';
import { fronts } from './algorithms/dominance.js';
import type { Tried } from './engine.js';
import { type Layer, layersOf } from './network/layers.js';
import type { OpenSearch } from './open.js';
import { UNITS } from './profile.js';
import { genomeKey } from './space.js';
import { scoredOf, volumes } from './volume.js';

/** A network that no other beats in score and cost. */
export interface FrontNetwork {
  /** N of model_arch_result_N.py. */
  number: number;
  key: string;
  score: number;
  /** Costs of the limits, in their order. */
  costs: number[];
  layers: Layer[];
  file: string;
}

/** Networks of the front, cheapest first. */
export function frontOf(tried: readonly Tried[]): Tried[] {
  const scored = scoredOf(tried);
  const [front = []] = fronts(scored);
  return front.map((index) => scored[index]!).sort((a, b) => a.objectives[1]! - b.objectives[1]!);
}

/** Blocks in PyTorch, from src/ and from dist/ alike. */
const BLOCKS = fileURLToPath(new URL('../../python/dopt/nas/torch_blocks.py', import.meta.url));

/** Writes results/model_arch_result_N.py and pareto.json; resolves with what they say. */
export async function writeResults(
  open: OpenSearch,
  tried: readonly Tried[],
  out: string,
): Promise<FrontNetwork[]> {
  const folder = join(out, 'results');
  mkdirSync(folder, { recursive: true });
  const networks = frontOf(tried).map(
    ({ genome, score }, number): FrontNetwork => ({
      number,
      key: genomeKey(genome),
      score: score!,
      costs: open.costs.of(genome),
      layers: layersOf(open.skeleton, genome),
      file: join(folder, `model_arch_result_${number}.py`),
    }),
  );
  for (const network of networks) await writeFileAtomic(network.file, programOf(open, network, folder));
  const pareto = { version: 1, dopt: VERSION, limits: open.limits, tried: tried.length, networks };
  await writeFileAtomic(join(out, 'pareto.json'), `${JSON.stringify(pareto, null, 2)}\n`);
  return networks;
}

/** Writes search.html: what a search has found so far. */
export async function writePage(open: OpenSearch, tried: readonly Tried[], out: string): Promise<void> {
  const numbers = new Map(frontOf(tried).map((one, number) => [one, number]));
  const scored = scoredOf(tried);
  const { cost } = open.limits[0]!;
  const page = renderSearch({
    version: VERSION,
    scenario: basename(open.folder),
    cost: `${cost} in ${UNITS[cost]}`,
    tried: scored.map((one) => ({
      score: one.score!,
      cost: one.objectives[1]!,
      number: numbers.get(one) ?? null,
      layers: layersOf(open.skeleton, one.genome),
    })),
    failed: tried.length - scored.length,
    volumes: volumes(tried),
  });
  await writeFileAtomic(join(out, 'search.html'), page);
}

/** A Python file that builds a network and runs alone. */
function programOf(open: OpenSearch, { number, score, costs, layers }: FrontNetwork, folder: string): string {
  const [height, width, channels] = open.scenario.supernet.input_shape;
  const says = open.limits.map(
    ({ cost, target, precision }, at) => `${cost} (${target}, ${precision}): ${costs[at]}`,
  );
  const blocks = readFileSync(BLOCKS, 'utf8').replace(/^"""[\s\S]*?"""\n/, '');
  return `"""Network ${number} of an architecture search by dopt ${VERSION}.

accuracy: ${score} (what metrics_func said of it in the search; train it from scratch before you use it)
${says.join('\n')}

Run this file to write model_arch_result_${number}.onnx; import it and call build() to train the network.
"""

import inspect
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ${JSON.stringify(relative(folder, open.folder) || '.')}))
${blocks}

LAYERS = [
${layers.map((layer) => `    ${JSON.stringify(layer)},`).join('\n')}
]


def build():
    """The network with fresh weights; PreNet and PostNet come from user_module.py."""
    from user_module import PostNet, PreNet

    return Network(PreNet(), LAYERS, PostNet(), (${open.skeleton.features.map((layer) => `${layer}, `).join('')}))


if __name__ == "__main__":
    target = os.path.splitext(os.path.abspath(__file__))[0] + ".onnx"
    inputs = torch.zeros(1, ${channels}, ${height}, ${width})
    # Newer versions of torch have an exporter that asks for a package of its own.
    traced = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    torch.onnx.export(build().eval(), (inputs,), target, opset_version=13, **traced)
    print(target)
`;
}
