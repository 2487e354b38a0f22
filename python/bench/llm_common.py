"""What the measurements of language models share: their texts, models, tables and the judging of a quantized network."""

import argparse
import importlib.util
import json
import math
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python"))

HEAD = f"{'':44} perplexity       KL  same choice  CPU s   s"
SEED = 0


def parser_of(text):
    """Flags that all have. No paths: stories260K and TinyStories from the assets."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, what in (("model", "folder of transformers"), ("calibration", "text"), ("test", "another text")):
        parser.add_argument(f"--{name}", help=what)
    for name, value in (("group", 0), ("samples", 96), ("length", 128), ("windows", 48), ("batch", 16)):
        parser.add_argument(f"--{name}", type=int, default=value)
    return parser


def paths_of(given, folder):
    """(model, calibration, test) as given, or stories260K made in ``folder``."""
    named = (given.model, given.calibration, given.test)
    if all(named):
        return named
    if any(named):
        sys.exit("--model, --calibration and --test go together")
    return stories(folder)


def stories(folder):
    """stories260K with its texts: (model, calibration, test)."""
    assets = Path(os.environ.get("DOPT_ASSETS") or ROOT.parent / "shared" / "assets")
    source = assets / "models" / "llm"
    if not source.is_dir():
        sys.exit(f"no folder {source}: name --model, --calibration and --test, or set DOPT_ASSETS")
    spec = importlib.util.spec_from_file_location("llama2c_to_hf", ROOT / "recipes" / "llm" / "llama2c_to_hf.py")
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    model = os.path.join(folder, "stories260K")
    recipe.convert(str(source / "stories260K.bin"), str(source / "tok512.bin"), model)
    texts = json.loads((assets / "data" / "text" / "tinystories_1000.json").read_text())
    paths = []
    for name, part in (("calibration", texts[:700]), ("test", texts[700:])):
        paths.append(os.path.join(folder, f"{name}.json"))
        Path(paths[-1]).write_text(json.dumps(part))
    return (model, *paths)


def text_params(path, samples, length):
    """Parameters of ``dopt.llm.tokens.samples_of``."""
    return {"files": [path], "samples": samples, "length": length, "chat": False, "bos": True}


def tokens_of(path, samples, length, model, vocabulary):
    """int64 [samples, length], the tokens that every tool gets."""
    import torch
    from dopt.llm.tokens import samples_of

    return torch.from_numpy(samples_of(text_params(path, samples, length), model, vocabulary)[0])


def row(name, float_nats, quantized_nats, kl, agreed, cpu, wall):
    """A line of the table; nats and shares are means over tokens."""
    numbers = f"{math.exp(quantized_nats):10.4f} {kl:8.6f} {agreed:12.2%}"
    return f"{name:44} {numbers} {cpu:6.1f} {wall:5.0f}   (float {math.exp(float_nats):.4f})"


def judge(plain, network, windows):
    """Means over the predicted tokens of ``windows`` (int64 [windows, length]): float nats, quantized nats, KL, agreement."""
    import torch
    from dopt.llm.evaluate import compare

    with torch.no_grad():
        parts = [
            compare(b[:, 1:].flatten(), *(m(input_ids=b).logits[:, :-1].flatten(0, 1).float() for m in (plain, network)))
            for b in windows.split(8)
        ]
    tokens = sum(each.tokens for each in parts)
    return [sum(getattr(each, key) for each in parts) / tokens for key in ("float_nats", "quantized_nats", "kl", "agreed")]


def strategies_of(model, group, ends):
    """4 bits for every linear of the blocks, in groups where they divide; the head in 8 bits with ``ends``, else float."""
    from dopt.llm.inspect import describe
    from dopt.llm.load import open_model

    found = []
    for each in describe(open_model(model))["linears"]:
        if each["head"] and not ends:
            continue
        fits = group if group and each["shape"][1] % group == 0 and not each["head"] else 0
        bits = 8 if each["head"] else 4
        found.append({"name": each["name"], "bits": bits, "groupSize": fits, "fullRange": True, "strategy": "bench"})
    return found


def quantize_params(paths, given, out, solver, ends):
    """Parameters of ``llmQuantize``; ``ends``: embedding and head in 8 bits."""
    model, calibration, _ = paths
    return {
        "model": model,
        "trustRemoteCode": False,
        "batch": given.batch,
        "threads": 1,
        "calibration": text_params(calibration, given.samples, given.length),
        "linears": strategies_of(model, given.group, ends),
        "embeddingBits": 8 if ends else None,
        "activations": None,
        "lockstep": True,
        "resume": False,
        "seed": SEED,
        "out": out,
        "solver": solver,
    }
