"""Texts that calibrate: what their tokens are, and how many."""

import os
import subprocess
import sys

import numpy as np
import pytest

from dopt.errors import DoptError
from dopt.llm import tokens
from dopt.llm.tokens import as_message, count_tokens, open_tokenizer, samples_of, tokens_of

WORDS = ["<s>", "[user]", "[model]", "a", "b", "c", "?"]
TEMPLATE = "{% for each in messages %}[user] {{ each['content'] }}{% endfor %}{% if add_generation_prompt %} [model]{% endif %}"


@pytest.fixture()
def folder(tmp_path):
    """A tokenizer with a token a word, BOS and a chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", unk_token="?")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(str(tmp_path / "model"))
    return str(tmp_path / "model")


def text(tmp_path, content="a b c a b c a", chat=False, **more):
    (tmp_path / "text.txt").write_text(content)
    return {"files": [str(tmp_path / "text.txt")], "samples": None, "length": 3, "chat": chat, "bos": True, **more}


def test_tokens_are_counted_as_samples_are_cut(folder, tmp_path):
    for chat, expected in ((False, 7), (True, 8)):
        given = text(tmp_path, chat=chat)
        samples, result = samples_of(given, folder, len(WORDS))
        assert count_tokens(given, folder) == result["available"] == expected
        assert samples.tolist()[0] == ([0, 1, 3] if chat else [0, 3, 4])
        assert len(samples) == expected // 2


def test_numbers_are_counted_without_a_tokenizer(tmp_path):
    np.save(str(tmp_path / "ids.npy"), np.arange(24).reshape(4, 6))
    assert count_tokens({"files": [str(tmp_path / "ids.npy")], "chat": False}, str(tmp_path)) == 24


def test_long_texts_are_not_counted(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tokens, "_COUNTED_BYTES", 5)
    assert count_tokens(text(tmp_path), folder) is None


def test_prompts_go_through_the_chat_template(folder, tmp_path):
    tokenizer = open_tokenizer(folder)
    assert as_message(tokenizer, "a b", reply=True) == "[user] a b [model]"
    tokenizer.chat_template = None
    with pytest.raises(DoptError) as caught:
        as_message(tokenizer, "a b", reply=True)
    assert caught.value.code == "LLM_NO_CHAT_TEMPLATE"


@pytest.mark.parametrize("content", ["", "a b", "a b\nc a b\n" * 9, "a b c " * 30, "abc" * 40, "\na\n\n b", " " * 50, "\n" * 50])
def test_long_documents_become_tokens_piece_by_piece(folder, tmp_path, monkeypatch, content):
    def stream():
        return samples_of({**text(tmp_path, content + " a b c"), "length": 2, "bos": False}, folder, len(WORDS))[0].tolist()

    whole = stream()
    monkeypatch.setattr(tokens, "PIECE", 16)
    pieces = list(tokens.pieces_of(content))
    assert "".join(pieces) == content and all(len(each) <= 16 for each in pieces)
    assert all(pieces) or content == ""
    if "abc" not in content:
        assert stream() == whole


def test_a_long_document_takes_the_memory_of_a_piece(folder, tmp_path):
    """600 bytes for each of its million tokens were more than the whole promise of a small model."""
    given = {**text(tmp_path, "a b c a\n" * 250_000), "samples": 4}
    program = f"""
from dopt.execute.peak import peak_bytes
from dopt.llm.tokens import open_tokenizer, samples_of
open_tokenizer({folder!r})
before = peak_bytes()
result = samples_of({given!r}, {folder!r}, {len(WORDS)})[1]
print(result["available"], peak_bytes() - before)
"""
    ran = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    available, taken = (int(each) for each in ran.stdout.split())
    assert available == 1_000_000 and taken < 150e6


def test_a_panic_of_a_library_is_an_error_of_the_file():
    """The Rust part of tokenizers panics on some damaged files; what Python gets then is no Exception."""

    class PanicException(BaseException):
        pass

    class Tokenizer:
        name_or_path = "folder"

        def __init__(self, raised):
            self.raised = raised

        def __call__(self, _text, **_more):
            raise self.raised

    with pytest.raises(DoptError, match="index out of bounds") as caught:
        tokens_of(Tokenizer(PanicException("index out of bounds: the len is 3")), "a")
    assert caught.value.code == "LLM_TOKENIZER"
    for other in (KeyboardInterrupt(), MemoryError()):
        with pytest.raises(type(other)):
            tokens_of(Tokenizer(other), "a")
