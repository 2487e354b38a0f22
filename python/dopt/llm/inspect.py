"""Method ``llmInspect`` of src/bridge/protocol-llm.ts."""

from typing import Any, Dict, Optional

from dopt.errors import DoptError
from dopt.events import Events
from dopt.execute.peak import resident_bytes
from dopt.llm.export import unexportable
from dopt.llm.families import Linear, context_of, find_blocks, linears_of, norm_kind, uncovered
from dopt.llm.load import Source, open_model
from dopt.llm.memory import stored_block_bytes
from dopt.llm.network import versions
from dopt.llm.rotate import why_not
from dopt.llm.tokens import are_numbers, count_tokens, open_tokenizer


def inspect(params: Dict[str, Any], events: Events) -> Dict[str, Any]:
    """What a model is; reads no weights unless transformers has to load them all."""
    source = open_model(params["model"], params["trustRemoteCode"])
    found = describe(source, params["trustRemoteCode"])
    text = params["text"]
    if text is None or (found["tokenizer"] is None and not are_numbers(text["files"])):
        return {**found, "textTokens": None}
    return {**found, "textTokens": count_tokens(text, params["model"], params["trustRemoteCode"])}


def describe(source: Source, trust_remote_code: bool = False) -> Dict[str, Any]:
    """The result of ``llmInspect`` for an open model, but for what is of a text."""
    network, config = source.network, source.config
    blocks = find_blocks(network, config)
    inside = [linears_of(block, blocks.prefix(index)) for index, block in enumerate(blocks.modules)]
    linears = [_entry(each, index, source) for index, found in enumerate(inside) for each in found]
    head = [each for each in linears_of(network, "") if each.name == source.head_name]
    linears += [_entry(each, None, source) for each in head]
    sizes = {name: 4 * _product(shape) for name, shape in source.names.items()}
    counted = {n: size for n, size in sizes.items() if not (source.tied and n == f"{source.head_name}.weight")}
    per_block = [sum(size for name, size in sizes.items() if name.startswith(f"{blocks.prefix(i)}.")) for i in range(len(inside))]
    left = [each for index, block in enumerate(blocks.modules) for each in uncovered(block, blocks.prefix(index), inside[index])]
    embedding = f"{source.embedding_name}.weight"
    reason = why_not(source, blocks)
    return {
        "architecture": type(network).__name__,
        "family": str(config.model_type),
        "blocks": len(inside),
        "blockClass": type(blocks.modules[0]).__name__,
        "hidden": int(source.names[embedding][1]),
        "vocabulary": int(source.names[embedding][0]),
        "context": context_of(config),
        "parameters": source.weight_count(),
        "bytes": sum(counted.values()),
        "fileBytes": source.file_bytes(),
        "tied": source.tied,
        "norm": norm_kind(network, blocks),
        "linears": linears,
        "embedding": {"name": source.embedding_name, "shape": list(source.names[embedding])},
        "uncovered": left,
        "rotation": {"possible": reason is None, "reason": reason},
        "unexportable": unexportable(type(network).__name__, config.to_dict()),
        "tokenizer": _tokenizer(source.folder, trust_remote_code),
        "whole": source.whole,
        "blockBytes": max(per_block),
        "outsideBytes": sum(counted.values()) - sum(per_block),
        "storedBlockBytes": max(stored_block_bytes(source, blocks.prefix(i)) for i in range(len(inside))),
        "baseBytes": resident_bytes(),
        "heads": int(getattr(config, "num_attention_heads", 1)),
        "sha256": source.digest(),
        "versions": versions(),
    }


def _entry(linear: Linear, block: Optional[int], source: Source) -> Dict[str, Any]:
    return {
        "name": linear.name,
        "kind": linear.kind,
        "block": block,
        "shape": [int(size) for size in linear.shape],
        "bias": linear.bias,
        "head": linear.name == source.head_name,
    }


def _tokenizer(folder: str, trust_remote_code: bool) -> Optional[Dict[str, Any]]:
    try:
        tokenizer = open_tokenizer(folder, trust_remote_code)
    except DoptError:
        return None
    return {
        "vocabulary": len(tokenizer),
        "bos": tokenizer.bos_token_id,
        "eos": tokenizer.eos_token_id,
        "chatTemplate": bool(getattr(tokenizer, "chat_template", None)),
    }


def _product(values: Any) -> int:
    result = 1
    for value in values:
        result *= int(value)
    return result
