"""What each step of the solver is worth on a language model: perplexity, divergence and agreement beside the float model.

    python python/bench/llm_steps.py [--model FOLDER --calibration TEXT --test TEXT] [--group 0] [--samples 96] [--float-ends] …

Each row adds one step to the one above. Without paths: stories260K and TinyStories from the assets. Head and embedding have
8 bits in every row; with --float-ends they stay float. `npm run bench:llm` runs this in the product's own environment.
"""

import os
import tempfile
import time
from pathlib import Path

from llm_common import HEAD, parser_of, paths_of, quantize_params, row, text_params

#: Each adds to the one before it.
STEPS = (
    ("nearest, nothing clipped", {"scales": "absmax", "rounding": "nearest"}),
    ("clip of least squared error", {"scales": "mse"}),
    ("each input weighted by its power", {"scales": "weighted"}),
    ("error feedback (GPTQ)", {"rounding": "gptq"}),
    ("inputs of high power first", {"actOrder": True}),
    ("rows of a head rounded together", {"heads": True}),
    ("scales fitted again", {"refit": True}),
    ("errors before the linear made up for", {"ridges": [0.1]}),
    ("one sweep of coordinate descent", {"sweeps": 1}),
    ("three ridges, four sweeps", {"ridges": [0.01, 0.1, 1.0], "sweeps": 4}),
    ("scales of each block trained", {"polish": 8}),
)
BASE = {
    "actOrder": False,
    "damping": 0.01,
    "dampingMost": 0.1,
    "ridges": [],
    "crossEvery": 1,
    "heads": False,
    "refit": False,
    "sweeps": 0,
    "polish": 0,
    "heldBack": 8,
    "sequential": True,
    "rotate": "never",
}


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--float-ends", action="store_true")
    parser.add_argument("--steps", help="numbers of the steps to measure, from 1 on, separated by commas")
    given = parser.parse_args()
    chosen = range(len(STEPS)) if given.steps is None else [int(each) - 1 for each in given.steps.split(",")]

    from dopt.events import Events
    from dopt.llm.evaluate import evaluate
    from dopt.llm.quantize import quantize

    with tempfile.TemporaryDirectory() as folder:
        paths = paths_of(given, folder)
        params = quantize_params(paths, given, os.path.join(folder, "out"), dict(BASE), not given.float_ends)
        judged = {key: params[key] for key in ("model", "trustRemoteCode", "batch", "threads")}
        judged.update(text=text_params(paths[2], given.windows, given.length), activations=False)
        judged.update(prompts=[], newTokens=1, quantized=params["out"])
        print(f"{Path(paths[0]).name}, 4 bits, {'a scale a row' if not given.group else f'groups of {given.group}'}")
        print(f"{given.samples} samples of {given.length} tokens calibrate, {given.windows} windows of another text score\n{HEAD}")
        for number, (name, change) in enumerate(STEPS):
            params["solver"].update(change)
            if number not in chosen:
                continue
            cpu, wall = time.process_time(), time.monotonic()
            quantize(params, Events())
            cpu, wall = time.process_time() - cpu, time.monotonic() - wall
            found = evaluate(judged, Events())
            q = found["quantized"]
            print(row(name, found["float"]["nats"], q["nats"], q["kl"], q["agreement"], cpu, wall), flush=True)


if __name__ == "__main__":
    main()
