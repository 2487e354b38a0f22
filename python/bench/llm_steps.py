"""What each step of the solver is worth on a language model: perplexity, divergence and agreement beside the float model.

    python python/bench/llm_steps.py [MODEL_FOLDER CALIBRATION TEST] [--group 0] [--samples 96] [--length 128] [--windows 48] [--float-ends]

Each row adds one step to the one above. Without arguments: stories260K and TinyStories from the assets. Head and
embedding have 8 bits in every row; with --float-ends they stay float. `npm run bench:llm` runs this in the product's own torch environment.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python"))

#: Each adds to the one before it.
STEPS = (
    ("nearest, nothing clipped", {"scales": "absmax", "rounding": "nearest"}),
    ("clip of least squared error", {"scales": "mse"}),
    ("each input weighted by its power", {"scales": "weighted"}),
    ("error feedback (GPTQ)", {"rounding": "gptq"}),
    ("inputs of high power first", {"actOrder": True}),
    ("scales fitted again", {"refit": True}),
    ("errors before the linear made up for", {"ridges": [0.1]}),
    ("one sweep of coordinate descent", {"sweeps": 1}),
    ("three ridges, four sweeps", {"ridges": [0.01, 0.1, 1.0], "sweeps": 4}),
)
BASE = {
    "actOrder": False,
    "damping": 0.01,
    "dampingMost": 0.1,
    "ridges": [],
    "refit": False,
    "sweeps": 0,
    "heldBack": 8,
    "sequential": True,
    "rotate": "never",
}


def stories(folder):
    """stories260K with its texts: (model, calibration, test)."""
    import importlib.util

    assets = Path(os.environ.get("DOPT_ASSETS") or ROOT.parent / "shared" / "assets")
    source = assets / "models" / "llm"
    if not source.is_dir():
        sys.exit(f"no folder {source}: name a model and two texts, or set DOPT_ASSETS")
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


def linears_of(model, group):
    from dopt.llm.inspect import describe
    from dopt.llm.load import open_model

    found = []
    for each in describe(open_model(model))["linears"]:
        fits = group if group and each["shape"][1] % group == 0 and not each["head"] else 0
        bits = 8 if each["head"] else 4
        found.append({"name": each["name"], "bits": bits, "groupSize": fits, "fullRange": True, "strategy": "bench"})
    return found


def main():
    from dopt.events import Events
    from dopt.llm.evaluate import evaluate
    from dopt.llm.quantize import quantize

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", help="model folder, calibration text, test text")
    for name, value in (("group", 0), ("samples", 96), ("length", 128), ("windows", 48), ("batch", 16)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--float-ends", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model, calibration, test = given.paths or stories(folder)
        text = {"files": [calibration], "samples": given.samples, "length": given.length, "chat": False, "bos": True}
        common = {"model": model, "trustRemoteCode": False, "batch": given.batch, "threads": 1}
        linears = [each for each in linears_of(model, given.group) if not given.float_ends or each["bits"] == 4]
        params = {**common, "calibration": text, "linears": linears, "embeddingBits": None if given.float_ends else 8}
        params.update(activations=None, memory=None, resume=False, seed=0, out=os.path.join(folder, "out"))
        judged = {**common, "text": {**text, "files": [test], "samples": given.windows}, "activations": False}
        judged.update(prompts=[], newTokens=1, quantized=params["out"])
        print(f"{Path(model).name}, 4 bits, {'a scale a row' if not given.group else f'groups of {given.group}'}")
        print(f"{given.samples} samples of {given.length} tokens calibrate, {given.windows} windows of another text score\n")
        solver = dict(BASE)
        for name, change in STEPS:
            solver.update(change)
            started = time.process_time()
            quantize({**params, "solver": solver}, Events())
            seconds = time.process_time() - started
            found = evaluate(judged, Events())
            if name == STEPS[0][0]:
                print(f"{'':40} perplexity       KL  same choice  CPU s\n{'float':40} {found['float']['perplexity']:10.4f}")
            q = found["quantized"]
            print(f"{name:40} {q['perplexity']:10.4f} {q['kl']:8.5f} {q['agreement']:12.2%} {seconds:6.1f}", flush=True)


if __name__ == "__main__":
    main()
