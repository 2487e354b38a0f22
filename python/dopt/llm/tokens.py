"""Text as samples of equal length: documents one behind the other, cut, each sample beginning with BOS."""

import hashlib
import json
import os
import re
from typing import Any, Dict, Iterator, List, Optional, Tuple

from dopt.data.arrays import load_npy
from dopt.errors import DoptError, in_a_line, is_refusal
from dopt.json_text import parse
from dopt.llm.network import require_transformers

#: Longer texts have tokens enough for every size that calibrates by itself.
_COUNTED_BYTES = 4 * 2**20
#: Characters of a document that become tokens at a time: tokenizers hold some 600 bytes for each token until they are done.
PIECE = 1 << 17
_TOKENIZER_FILES = re.compile(r"tokenizer|vocab|.*\.(tiktoken|model)$")


def open_tokenizer(folder: str, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a model. Raises DoptError LLM_TOKENIZER."""
    require_transformers()
    from transformers import AutoTokenizer

    try:
        # Without its files transformers 5 makes an empty tokenizer and says nothing.
        if not any(_TOKENIZER_FILES.match(name) for name in os.listdir(folder)):
            raise OSError("none of its files is there")
        try:
            return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
        except ValueError:
            # A class that this transformers does not know, such as those that newer ones write down.
            return _plain_tokenizer(folder)
    except BaseException as error:  # noqa: BLE001 - transformers and tokenizers raise many types, Exception itself among them.
        if not is_refusal(error):
            raise
        raise DoptError(
            "LLM_TOKENIZER",
            f"{folder} has no tokenizer that transformers can open: {in_a_line(error)}",
            place=folder,
            suggestions=["Copy tokenizer.json and tokenizer_config.json of the model into the folder."],
        ) from error


def _plain_tokenizer(folder: str) -> Any:
    """tokenizer.json with the special tokens of tokenizer_config.json. Raises OSError or ValueError without it."""
    from transformers import PreTrainedTokenizerFast

    path = os.path.join(folder, "tokenizer.json")
    if not os.path.isfile(path):
        raise OSError("its class is not known, and there is no tokenizer.json")
    with open(os.path.join(folder, "tokenizer_config.json"), encoding="utf-8") as file:
        settings = json.load(file)
    known = ("bos_token", "eos_token", "unk_token", "pad_token", "chat_template")
    special = {key: settings[key] for key in known if isinstance(settings.get(key), str)}
    return PreTrainedTokenizerFast(tokenizer_file=path, name_or_path=folder, **special)


def samples_of(text: Dict[str, Any], folder: str, vocabulary: int, trust_remote_code: bool = False) -> Tuple[Any, Dict[str, Any]]:
    """int64 [samples, length] and ``textResultSchema`` of protocol-llm.ts, for ``llmTextSchema``.

    Samples are evenly spread over the text. Raises DoptError LLM_TEXT (unreadable), LLM_TEXT_SHORT (not one sample),
    LLM_TOKEN_RANGE.
    """
    import numpy as np

    documents, tokenizer = _documents(text, folder, trust_remote_code)
    bos = _bos(tokenizer) if text["bos"] else None
    length = text["length"]
    body = length - (0 if bos is None else 1)
    rows = [each for each in documents if each.ndim == 2]
    if rows:
        samples, available = rows[0][:, :length].astype(np.int64), int(rows[0].size)
        if rows[0].shape[1] < length:
            raise _short(text, f"rows of {rows[0].shape[1]} tokens")
        bos = None
    else:
        stream = np.concatenate([*documents, np.zeros(0, np.int64)]).astype(np.int64)
        available = int(stream.size)
        pieces = stream[: available // body * body].reshape(-1, body)
        samples = pieces if bos is None else np.concatenate([np.full((len(pieces), 1), bos), pieces], axis=1)
    if not len(samples):
        raise _short(text, f"{available} tokens")
    wanted = text["samples"] or len(samples)
    chosen = np.unique(np.linspace(0, len(samples) - 1, min(wanted, len(samples))).round().astype(np.int64))
    samples = np.ascontiguousarray(samples[chosen])
    if samples.min() < 0 or samples.max() >= vocabulary:
        raise DoptError(
            "LLM_TOKEN_RANGE",
            f"The text has token {int(samples.max())}, the model {vocabulary} of them.",
            suggestions=["The tokenizer in the folder is another model's."],
        )
    digest = hashlib.sha256(samples.astype("<i8").tobytes()).hexdigest()
    count = {"samples": len(samples), "length": length, "tokens": int(samples.size), "available": available}
    return samples, {**count, "bos": bos, "sha256": digest}


def count_tokens(text: Dict[str, Any], folder: str, trust_remote_code: bool = False) -> Optional[int]:
    """Tokens of the files of ``llmTextSchema``; None where counting them would take seconds. Raises as ``samples_of`` does."""
    if sum(os.path.getsize(path) for path in text["files"]) > _COUNTED_BYTES:
        return None
    documents, _ = _documents(text, folder, trust_remote_code)
    return sum(int(each.size) for each in documents)


def are_numbers(files: List[str]) -> bool:
    """Whether token numbers are given instead of text."""
    return all(path.endswith(".npy") for path in files)


def warnings_of(text: Dict[str, Any], result: Dict[str, Any]) -> List[str]:
    """What is wrong with a calibration text, in sentences."""
    found = []
    if text["samples"] is not None and result["samples"] < text["samples"]:
        found.append(f"The text has {result['samples']} samples of {result['length']} tokens, {text['samples']} were asked for.")
    if result["tokens"] < 4096:
        found.append(f"Only {result['tokens']} tokens of calibration text: solutions fit its noise; 16,000 and more are better.")
    return found


def _documents(text: Dict[str, Any], folder: str, trust_remote_code: bool) -> Tuple[List[Any], Any]:
    """Token numbers of every document, one- or (from ``.npy``) two-dimensional, and the tokenizer (None for numbers)."""
    import numpy as np

    if are_numbers(text["files"]):
        return [_numbers(path) for path in text["files"]], None
    tokenizer = open_tokenizer(folder, trust_remote_code)
    found = []
    for path in text["files"]:
        if path.endswith(".npy"):
            raise DoptError("LLM_TEXT", "Token numbers and text cannot be mixed.", place=path)
        for document in _texts(path):
            if text["chat"]:
                document = as_message(tokenizer, document)
            found.append(np.concatenate([tokens_of(tokenizer, each) for each in pieces_of(document)]))
    return found, tokenizer


def as_message(tokenizer: Any, text: str, reply: bool = False) -> str:
    """A text as a message of the user's, by the tokenizer's chat template; ``reply``: and what an answer begins with.

    Raises DoptError LLM_NO_CHAT_TEMPLATE, LLM_TOKENIZER.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise DoptError(
            "LLM_NO_CHAT_TEMPLATE",
            "The tokenizer has no chat template.",
            place=tokenizer.name_or_path,
            suggestions=["Let it go on with the text as it is: `dopt llm chat` with --raw, other commands without --chat."],
        )
    try:
        messages = [{"role": "user", "content": text}]
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=reply)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - a template is a program of somebody else's.
        raise DoptError(
            "LLM_TOKENIZER",
            f"The chat template in {tokenizer.name_or_path} cannot be filled in: {in_a_line(error)}",
            place=tokenizer.name_or_path,
            suggestions=["Copy tokenizer_config.json (or chat_template.jinja) of the model into the folder again."],
        ) from error


def tokens_of(tokenizer: Any, piece: str) -> Any:
    """The token numbers of a piece of text, int64, without special tokens. Raises DoptError LLM_TOKENIZER."""
    import numpy as np

    try:
        return np.asarray(tokenizer(piece, add_special_tokens=False)["input_ids"], np.int64)
    except BaseException as error:  # noqa: BLE001 - tokenizers raises Exception itself for a vocabulary that lacks what it needs.
        if not is_refusal(error):
            raise
        raise DoptError(
            "LLM_TOKENIZER",
            f"The tokenizer of {tokenizer.name_or_path} cannot take the text: {in_a_line(error)}",
            place=tokenizer.name_or_path,
            suggestions=["Copy tokenizer.json and tokenizer_config.json of the model into the folder again."],
        ) from error


def pieces_of(document: str) -> Iterator[str]:
    """A document in parts of ``PIECE`` characters and less that end with a line, else with a word; tokens are hardly ever made
    of characters on both sides of a line's end."""
    first = 0
    while len(document) - first > PIECE:
        line, word = (document.rfind(each, first + 1, first + PIECE) for each in ("\n", " "))
        last = line + 1 if line >= 0 else word if word >= 0 else first + PIECE
        yield document[first:last]
        first = last
    yield document[first:]


def _texts(path: str) -> List[str]:
    try:
        with open(path, encoding="utf-8") as file:
            content = file.read()
        if path.endswith(".jsonl"):
            objects = [parse(line) for line in content.splitlines() if line.strip()]
        elif path.endswith(".json"):
            objects = parse(content)
        else:
            return [content]
        if not isinstance(objects, list):
            raise ValueError("it is no list")
        texts = [each.get("text") if isinstance(each, dict) else each for each in objects]
        wrong = next((index for index, each in enumerate(texts) if not isinstance(each, str)), None)
        if wrong is not None:
            raise ValueError(f"item {wrong + 1} has no text: {str(objects[wrong])[:60]}")
        # Half of a pair of UTF-16, which JSON can write down and no tokenizer takes.
        for each in texts:
            each.encode("utf-8")
        return texts
    except OSError as error:
        raise DoptError("LLM_TEXT", f"Cannot read {path}: {error.strerror}.", place=path) from error
    except ValueError as error:
        raise DoptError(
            "LLM_TEXT",
            f"{path} is no calibration text: {error}.",
            place=path,
            suggestions=['Expected UTF-8 text, or a JSON list of objects with the key "text" (.jsonl: one a line).'],
        ) from error


def _numbers(path: str) -> Any:
    try:
        array = load_npy(path)
    except (OSError, ValueError) as error:
        raise DoptError("LLM_TEXT", f"{path} is no .npy file: {error}.", place=path) from error
    if array.dtype.kind not in "iu" or array.ndim not in (1, 2):
        raise DoptError("LLM_TEXT", f"{path} holds {array.dtype} {list(array.shape)}, expected token numbers.", place=path)
    return array


def _bos(tokenizer: Any) -> Optional[int]:
    return None if tokenizer is None else getattr(tokenizer, "bos_token_id", None)


def _short(text: Dict[str, Any], found: str) -> DoptError:
    names = ", ".join(os.path.basename(path) for path in text["files"])
    return DoptError(
        "LLM_TEXT_SHORT",
        f"The text does not fill one sample of {text['length']} tokens.",
        place=names,
        found=found,
        suggestions=["Give more text, or shorter samples."],
    )
