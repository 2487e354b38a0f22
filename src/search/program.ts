import { readFileSync } from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { FrontNetwork } from '../config/pareto.js';
import { VERSION } from '../version.js';
import type { OpenSearch } from './open.js';
import { channelsFirst } from './run-params.js';

/** Sources of the blocks, from src/ and from dist/ alike. */
const BLOCKS = {
  PyTorch: fileURLToPath(new URL('../../python/dopt/nas/torch_blocks.py', import.meta.url)),
  TensorFlow: fileURLToPath(new URL('../../python/dopt/nas/tensorflow_blocks.py', import.meta.url)),
};

/** What a program is made of that depends on the framework. */
interface Parts {
  suffix: 'onnx' | 'pb';
  imports: string[];
  /** Lines that come before the framework is loaded, where networks of TensorFlow have channels first. */
  before?: string;
  /** Lines that write `build()` to `target`; `shape` is that of its input. */
  write: (shape: readonly number[]) => string;
}

const PARTS: Record<keyof typeof BLOCKS, Parts> = {
  PyTorch: {
    suffix: 'onnx',
    imports: ['inspect', 'os', 'sys'],
    write: (shape) => `
    inputs = torch.zeros(${shape.join(', ')})
    # Newer versions of torch have an exporter that asks for a package of its own.
    traced = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    torch.onnx.export(build().eval(), (inputs,), target, opset_version=13, **traced)`,
  },
  TensorFlow: {
    suffix: 'pb',
    imports: ['os', 'sys'],
    before: `# On a processor, TensorFlow computes with channels first where oneDNN does.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
`,
    write: (shape) => `
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    network = build()
    network(tf.zeros((${shape.join(', ')})), training=False)
    # One output is called output, more of them output_0, output_1, ...
    named = lambda found: [tf.identity(each, "output" if len(found) == 1 else f"output_{at}") for at, each in enumerate(found)]
    function = tf.function(lambda inputs: named(tf.nest.flatten(network(inputs, training=False))))
    shape = tf.TensorSpec((${shape.join(', ')}), tf.float32, name="input")
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(shape))
    with open(target, "wb") as file:
        file.write(frozen.graph.as_graph_def().SerializeToString())`,
  },
};

/** A Python file that builds a network of a search and runs alone; `folder` is where it will lie. */
export function programOf(
  {
    scenario,
    limits,
    folder: user,
    skeleton,
  }: Pick<OpenSearch, 'scenario' | 'limits' | 'folder' | 'skeleton'>,
  { number, score, costs, layers }: Omit<FrontNetwork, 'file' | 'key'>,
  folder: string,
): string {
  const { suffix, imports, before, write } = PARTS[scenario.framework];
  const first = channelsFirst(scenario);
  const turned = first && before !== undefined;
  const [height, width, channels] = scenario.supernet.input_shape;
  const shape = first ? [1, channels!, height!, width!] : [1, height!, width!, channels!];
  const parts = turned
    ? ['FromChannelsFirst(PreNet())', 'ToChannelsFirst(PostNet())']
    : ['PreNet()', 'PostNet()'];
  const says = limits.map(
    ({ cost, target, precision }, at) => `${cost} (${target}, ${precision}): ${costs[at]}`,
  );
  const blocks = readFileSync(BLOCKS[scenario.framework], 'utf8').replace(/^"""[\s\S]*?"""\n/, '');
  return `"""Network ${number} of an architecture search by dopt ${VERSION}.

accuracy: ${score} (what the metric of user_module.py said of it in the search; train it from scratch before you use it)
${says.join('\n')}

Run this file to write model_arch_result_${number}.${suffix}; import it and call build() to train the network.
"""

${imports.map((name) => `import ${name}`).join('\n')}

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ${JSON.stringify(relative(folder, user) || '.')}))
${turned ? before : ''}${blocks}

LAYERS = [
${layers.map((layer) => `    ${JSON.stringify(layer)},`).join('\n')}
]


def build():
    """The network with fresh weights; PreNet and PostNet come from user_module.py."""
    from user_module import PostNet, PreNet

    return Network(${parts[0]}, LAYERS, ${parts[1]}, (${skeleton.features.map((layer) => `${layer}, `).join('')}))


if __name__ == "__main__":
    target = os.path.splitext(os.path.abspath(__file__))[0] + ".${suffix}"${write(shape)}
    print(target)
`;
}
