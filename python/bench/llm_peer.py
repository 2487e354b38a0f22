"""One tool's 4-bit weights on the very tokens that all others get, judged by one code: `npm run bench:llm -- --peers`.

    python python/bench/llm_peer.py TOOL [--model FOLDER --calibration TEXT --test TEXT] [--group 0] [--samples 96] …

TOOL: llm-compressor, gptqmodel, auto-round, each in an environment of its own (test/bench/peers/requirements), or dopt with
--solver JSON, the parameter `solver` of llmQuantize. Embedding and head stay float, since the others leave them so. Groups
are used where they divide a layer's inputs. One thread; seconds are those of quantization alone, without loading and judging.
"""

import json
import os
import tempfile
import time

from llm_common import judge, parser_of, paths_of, quantize_params, row, tokens_of


def main():
    parser = parser_of(__doc__)
    parser.add_argument("tool", choices=sorted(TOOLS))
    parser.add_argument("--solver", type=json.loads)
    parser.add_argument("--name", default="dopt", help="of the row of dopt")
    parser.add_argument("--iterations", type=int, default=50, help="of auto-round; 50 are its light recipe, 200 its default")
    given = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", GPTQMODEL_CPU_WORKERS="2")  # GPTQModel does not start with one worker
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.abspath(each) for each in paths_of(given, folder)]
        os.chdir(folder)  # some leave files where they stand
        plain = AutoModelForCausalLM.from_pretrained(paths[0], dtype=torch.float32).eval()
        tokens = tokens_of(paths[1], given.samples, given.length, paths[0], plain.config.vocab_size)
        windows = tokens_of(paths[2], given.windows, given.length, paths[0], plain.config.vocab_size)
        for name, network, cpu, wall in TOOLS[given.tool](paths, tokens, given, folder):
            print(row(name, *judge(plain, network, windows), cpu, wall), flush=True)


class Timed:
    """Seconds of the process and of the clock within a block."""

    def __enter__(self):
        self._cpu, self._wall = time.process_time(), time.monotonic()
        return self

    def __exit__(self, *_):
        self.cpu, self.wall = time.process_time() - self._cpu, time.monotonic() - self._wall


def network_of(path):
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


def with_weights(path, weights):
    """The network of ``path`` with other weights for some linears: {name: float32 [outputs, inputs]}."""
    import torch

    network = network_of(path)
    with torch.no_grad():
        for name, weight in weights.items():
            network.get_submodule(name).weight.copy_(weight)
    return network


def divides(path, group):
    """Names of linears whose inputs the group does not divide: they get a scale a row."""
    if not group:
        return []
    linears = ((name, each) for name, each in network_of(path).named_modules() if type(each).__name__ == "Linear")
    return [name for name, each in linears if each.in_features % group]


def dopt(paths, tokens, given, folder):
    """The engine itself, all weights as the file it writes says."""
    from dopt.events import Events
    from dopt.llm.place import place_of
    from dopt.llm.quantize import Run
    from dopt.llm.restore import open_quantized

    out = os.path.join(folder, "out")
    params = quantize_params(paths, given, out, given.solver, ends=False)
    with place_of(params) as place:
        run = Run(params, Events(), place)  # model and text are open, as the others' are
        with Timed() as timed:
            run.run()
    restored = open_quantized(out)
    restored.fill(restored.network, "")
    yield given.name, restored.network, timed.cpu, timed.wall


def llm_compressor(paths, tokens, given, folder):
    """GPTQ in its static order (the default), and with scales of least squared error."""
    import torch
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import GPTQModifier

    samples = [{"input_ids": each, "attention_mask": torch.ones_like(each)} for each in tokens]
    odd = divides(paths[0], given.group)
    for observer in ("memoryless_minmax", "memoryless_mse"):
        network = network_of(paths[0])

        def weights(group, observer=observer):
            size = {"strategy": "group", "group_size": group} if group else {"strategy": "channel"}
            return {"num_bits": 4, "type": "int", "symmetric": True, **size, "actorder": "static", "observer": observer}

        groups = {"group_0": {"targets": ["Linear"], "weights": weights(given.group)}}
        if odd:
            even = [n for n, each in network.named_modules() if type(each).__name__ == "Linear" and n not in odd]
            groups["group_0"]["targets"] = [each for each in even if each != "lm_head"]
            groups["group_1"] = {"targets": [each for each in odd if each != "lm_head"], "weights": weights(0)}
            groups = {name: each for name, each in groups.items() if each["targets"]}
        recipe = GPTQModifier(ignore=["lm_head"], config_groups=groups)
        loader = torch.utils.data.DataLoader(samples, batch_size=1)
        with Timed() as timed:
            oneshot(
                model=network,
                dataset=loader,
                recipe=recipe,
                max_seq_length=given.length,
                num_calibration_samples=len(samples),
            )
        yield f"llm-compressor GPTQ, {observer.partition('_')[2]} scales", network, timed.cpu, timed.wall


def gptqmodel(paths, tokens, given, folder):
    """GPTQ as it comes (which has groups only), and with the order of activations; weights taken from the file it writes."""
    from gptqmodel import GPTQModel, QuantizeConfig

    samples = [{"input_ids": each.tolist(), "attention_mask": [1] * len(each)} for each in tokens]
    # A scale a row where the group does not divide; its order within groups has no meaning there.
    odd = {"group_size": -1, "act_group_aware": False}
    rows = {f"+:^{name.replace('.', '[.]')}$": odd for name in divides(paths[0], given.group)}
    ordered = {"desc_act": True, "act_group_aware": False}
    variants = {"defaults": {}, "order of activations": ordered} if given.group else {"order of activations": ordered}
    for name, order in variants.items():
        out = os.path.join(folder, name)
        config = QuantizeConfig(bits=4, group_size=given.group or -1, sym=True, dynamic=rows or None, **order)
        model = GPTQModel.load(paths[0], config, device="cpu", dtype="float32")
        with Timed() as timed:
            model.quantize(samples, batch_size=1)
        model.save(out)
        yield f"GPTQModel, {name}", with_weights(paths[0], gptq_weights(out)), timed.cpu, timed.wall


def gptq_weights(folder):
    """{name: float32 [outputs, inputs]} of a folder in GPTQ's format, version 1."""
    import glob

    import torch
    from safetensors.torch import load_file

    tensors = {}
    for path in glob.glob(os.path.join(folder, "*.safetensors")):
        tensors.update(load_file(path))
    shifts = torch.arange(0, 32, 4)
    found = {}
    for key in [each for each in tensors if each.endswith(".qweight")]:
        name = key[: -len(".qweight")]
        packed, scales, zeros = (tensors[f"{name}.{part}"] for part in ("qweight", "scales", "qzeros"))
        groups = tensors[f"{name}.g_idx"].long()
        integers = ((packed[:, None, :] >> shifts[None, :, None]) & 15).reshape(-1, packed.shape[1])
        zero = ((zeros[:, :, None] >> shifts) & 15).reshape(len(zeros), -1) + 1
        found[name] = ((integers - zero[groups]).float() * scales.float()[groups]).t()
    return found


def auto_round(paths, tokens, given, folder):
    """Rounding by gradients; the weights are left rounded in the network. Few iterations with the rate of its light recipe."""
    from auto_round import AutoRound
    from transformers import AutoTokenizer

    network = network_of(paths[0])
    layers = {name: {"group_size": -1} for name in divides(paths[0], given.group)}
    samples = [{"input_ids": each[None]} for each in tokens]
    rounding = AutoRound(
        network,
        AutoTokenizer.from_pretrained(paths[0]),
        bits=4,
        group_size=given.group or -1,
        sym=True,
        iters=given.iterations,
        lr=5e-3 if given.iterations <= 50 else None,
        nsamples=len(samples),
        seqlen=given.length,
        dataset=samples,
        layer_config=layers or None,
        device_map="cpu",
        amp=False,
    )
    with Timed() as timed:
        network, _ = rounding.quantize()
    yield f"AutoRound, {given.iterations} iterations", network.float().eval(), timed.cpu, timed.wall


TOOLS = {"dopt": dopt, "llm-compressor": llm_compressor, "gptqmodel": gptqmodel, "auto-round": auto_round}


if __name__ == "__main__":
    main()
