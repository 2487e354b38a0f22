"""GPTQ of llm-compressor on the very tokens of `llm_steps.py`, judged by the same code.

    python python/bench/llm_peer.py MODEL_FOLDER CALIBRATION TEST [--group 0] [--samples 96] [--length 128] [--windows 48]

Runs in an environment of its own with `pip install llmcompressor` (0.14 with transformers 5 was used for docs/benchmarks.md).
Embedding and head stay float there; compare with `llm_steps.py --float-ends`.
"""

import argparse
import math
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))


def main():
    import torch
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import GPTQModifier
    from transformers import AutoModelForCausalLM

    from dopt.llm.evaluate import compare
    from dopt.llm.tokens import samples_of

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("calibration")
    parser.add_argument("test")
    for name, value in (("group", 0), ("samples", 96), ("length", 128), ("windows", 48)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    torch.set_num_threads(1)
    plain = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32).eval()
    text = {"samples": given.samples, "length": given.length, "chat": False, "bos": True}
    ids, judged = (
        torch.from_numpy(samples_of({**text, "files": [path], "samples": count}, given.model, plain.config.vocab_size)[0])
        for path, count in ((given.calibration, given.samples), (given.test, given.windows))
    )
    samples = [{"input_ids": each, "attention_mask": torch.ones_like(each)} for each in ids]
    shared = {"strategy": "group", "group_size": given.group} if given.group else {"strategy": "channel"}
    for name, order in (("GPTQ, static order", "static"), ("GPTQ, natural order", None)):
        model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32).eval()
        weights = {"num_bits": 4, "type": "int", "symmetric": True, **shared, "actorder": order}
        recipe = GPTQModifier(
            targets="Linear", ignore=["lm_head"], config_groups={"group_0": {"targets": ["Linear"], "weights": weights}}
        )
        started = time.process_time()
        loader = torch.utils.data.DataLoader(samples, batch_size=1)
        oneshot(model=model, dataset=loader, recipe=recipe, max_seq_length=given.length, num_calibration_samples=len(samples))
        seconds = time.process_time() - started
        with torch.no_grad():
            parts = [
                compare(b[:, 1:].flatten(), *(m(b).logits[:, :-1].flatten(0, 1).float() for m in (plain, model)))
                for b in judged.split(16)
            ]
        tokens = sum(each.tokens for each in parts)
        nats, kl = (sum(getattr(each, key) for each in parts) / tokens for key in ("quantized_nats", "kl"))
        agreed = sum(each.agreed for each in parts) / tokens
        print(f"{name:40} {math.exp(nats):10.4f} {kl:8.5f} {agreed:12.2%} {seconds:6.1f}", flush=True)


if __name__ == "__main__":
    main()
