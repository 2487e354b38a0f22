"""Method ``llmGenerate`` of src/bridge/protocol-llm.ts: going on with a text, the likeliest token each time."""

import time
from typing import Any, Dict, List, Optional

from dopt.errors import DoptError
from dopt.events import Events
from dopt.gpu import torch_device
from dopt.llm.families import find_blocks
from dopt.llm.load import Source, open_model
from dopt.llm.restore import open_quantized
from dopt.llm.simulate import tap_of, tapped_network
from dopt.llm.taps import Tap
from dopt.llm.tokens import as_message, open_tokenizer, tokens_of


def generate(params: Dict[str, Any], events: Events) -> Dict[str, Any]:
    """Texts that a model makes of prompts; the whole model is in memory."""
    import torch

    started = time.monotonic()
    torch.set_num_threads(params["threads"])
    tokenizer = open_tokenizer(params["model"], params["trustRemoteCode"])
    prompts = [as_message(tokenizer, prompt, reply=True) if params["chat"] else prompt for prompt in params["prompts"]]
    device = torch_device(params.get("gpu"))
    texts = _texts(params, params["quantized"], tokenizer, prompts, params["activations"], events, device)
    samples = [{"prompt": prompt, "text": text} for prompt, text in zip(params["prompts"], texts)]
    return {"samples": samples, "seconds": time.monotonic() - started}


def continue_all(params: Dict[str, Any], events: Events, device: Any) -> List[Dict[str, Any]]:
    """Prompts of ``llmEvaluate`` gone on with by both models."""
    tokenizer = open_tokenizer(params["model"], params["trustRemoteCode"])
    prompts = params["prompts"]
    plain = _texts(params, None, tokenizer, prompts, False, events, device)
    other: List[Optional[str]] = [None] * len(prompts)
    if params["quantized"] is not None:
        other = list(_texts(params, params["quantized"], tokenizer, prompts, params["activations"], events, device))
    return [{"prompt": p, "float": f, "quantized": q} for p, f, q in zip(prompts, plain, other)]


def _texts(
    params: Dict[str, Any],
    quantized: Optional[str],
    tokenizer: Any,
    prompts: List[str],
    activations: bool,
    events: Events,
    device: Any,
) -> List[str]:
    source: Source
    tap: Optional[Tap] = None
    if quantized is None:
        source = open_model(params["model"], params["trustRemoteCode"], device)
    else:
        source = open_quantized(quantized, params["trustRemoteCode"], device)
        tap = tap_of(source, activations)
    source.fill(source.network, "")
    texts = []
    with tapped_network(source, find_blocks(source.network, source.config), tap):
        for index, prompt in enumerate(prompts):
            events.progress(index, len(prompts), f"text {index} of {len(prompts)}")
            texts.append(greedy(source.network, tokenizer, prompt, params["newTokens"], device))
    return texts


def greedy(network: Any, tokenizer: Any, prompt: str, new_tokens: int, device: Any = "cpu") -> str:
    """The likeliest continuation, token by token, until the end token. BOS comes first, as in calibration."""
    import torch

    tokens = tokens_of(tokenizer, prompt).tolist()
    if tokenizer.bos_token_id is not None and tokens[:1] != [tokenizer.bos_token_id]:
        tokens = [tokenizer.bos_token_id, *tokens]
    if not tokens:
        raise DoptError("LLM_PROMPT", "An empty prompt, and the tokenizer has no BOS to begin with.")
    given, past, made = torch.tensor([tokens], device=device), None, []  # type: Any, Any, List[int]
    with torch.no_grad():
        for _ in range(new_tokens):
            out = network(input_ids=given, past_key_values=past, use_cache=True)
            token = int(out.logits[0, -1].argmax())
            if token == tokenizer.eos_token_id:
                break
            made.append(token)
            given, past = torch.tensor([[token]], device=device), out.past_key_values
    return tokenizer.decode(made)
