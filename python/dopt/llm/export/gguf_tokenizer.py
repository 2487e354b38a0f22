"""The tokenizer of a Hugging Face folder as GGUF metadata: byte-level BPE, and BPE with byte fallback as SentencePiece has it."""

import json
import os
from typing import Any, Dict, List, Optional

#: Kinds of tokens in `tokenizer.ggml.token_type`.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


def tokenizer_metadata(folder: str, architecture: str, vocabulary: int) -> Optional[Dict[str, Any]]:
    """`tokenizer.ggml.*` for ``vocabulary`` tokens, or None where the folder has no tokenizer.json of BPE."""
    data = _json(os.path.join(folder, "tokenizer.json"))
    model = data.get("model", {})
    if model.get("type") != "BPE":
        return None
    settings = _json(os.path.join(folder, "tokenizer_config.json"))
    fallback = bool(model.get("byte_fallback"))
    tokens = [f"[PAD{index}]" for index in range(vocabulary)]
    kinds = [UNUSED] * vocabulary
    for token, index in model["vocab"].items():
        if index < vocabulary:
            is_byte = fallback and len(token) == 6 and token.startswith("<0x")
            tokens[index], kinds[index] = token, BYTE if is_byte else NORMAL
    for added in data.get("added_tokens", []):
        if added["id"] < vocabulary:
            tokens[added["id"]] = added["content"]
            kinds[added["id"]] = CONTROL if added.get("special") else USER_DEFINED
    unknown = model.get("unk_token")
    if fallback and unknown in model["vocab"]:
        kinds[model["vocab"][unknown]] = UNKNOWN
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model.get("merges", [])]
    result: Dict[str, Any] = {
        "tokenizer.ggml.model": "llama" if fallback else "gpt2",
        "tokenizer.ggml.pre": "default" if fallback else _pre_tokenizer(data, architecture),
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
    }
    if fallback:
        result["tokenizer.ggml.scores"] = _scores(tokens, merges)
    else:
        result["tokenizer.ggml.merges"] = merges
    result.update(_special(settings, tokens))
    template = settings.get("chat_template") or _text(os.path.join(folder, "chat_template.jinja"))
    if isinstance(template, str) and template:
        result["tokenizer.chat_template"] = template
    return result


def _scores(tokens: List[str], merges: List[str]) -> List[float]:
    """SentencePiece merges the pair of the highest score first: the earlier a merge, the higher."""
    ranks = {merge.replace(" ", ""): rank for rank, merge in reversed(list(enumerate(merges)))}
    return [-float(ranks.get(token, len(merges))) for token in tokens]


def _pre_tokenizer(data: Dict[str, Any], architecture: str) -> str:
    """The name that llama.cpp knows a way of splitting text by."""
    if architecture.startswith("qwen"):
        return "qwen2"
    text = json.dumps(data.get("pre_tokenizer") or {})
    if "{1,3}" in text:
        return "llama-bpe"
    if '"Digits"' in text:
        return "smollm"
    return "gpt-2"


def _special(settings: Dict[str, Any], tokens: List[str]) -> Dict[str, Any]:
    places = {token: index for index, token in reversed(list(enumerate(tokens)))}
    found: Dict[str, Any] = {}
    for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        token = settings.get(f"{name}_token")
        content = token.get("content") if isinstance(token, dict) else token
        if content in places:
            found[f"tokenizer.ggml.{key}_token_id"] = places[content]
    for name in ("add_bos_token", "add_eos_token"):
        if isinstance(settings.get(name), bool):
            found[f"tokenizer.ggml.{name}"] = settings[name]
    return found


def _json(path: str) -> Dict[str, Any]:
    text = _text(path)
    return json.loads(text) if text else {}


def _text(path: str) -> Optional[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None
