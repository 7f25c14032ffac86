"""The chat templates that llama.cpp carries, rendered by us and by transformers: the same text, or
both refuse."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer as Backend
from tokenizers import models
from transformers import PreTrainedTokenizerFast

from tests.real.rendering import REFUSED, ours, theirs
from tests.real.texts import CONVERSATIONS
from unisono.text.templates.chat_template import ChatTemplate

NAMED = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


def test_every_template_over_every_conversation(llama_cpp_models: Path) -> None:
    """Rendered a second time where they differ: a template may write the time."""
    oracle = PreTrainedTokenizerFast(tokenizer_object=Backend(models.BPE()), **NAMED)
    paths = sorted((llama_cpp_models / "templates").glob("*.jinja"))
    assert len(paths) == 70
    differ, rendered = [], 0
    for path in paths:
        oracle.chat_template = path.read_text("utf-8")
        chat = ChatTemplate({"default": oracle.chat_template}, variables=NAMED)
        for name, conversation in CONVERSATIONS.items():
            pairs = (
                (ours(chat.render, conversation), theirs(oracle, conversation)) for _ in range(2)
            )
            found = next((pair for pair in pairs if pair[0] == pair[1]), None)
            if found is None:
                differ.append((path.name, name))
            elif found[0] != REFUSED:
                rendered += 1
    assert differ == []
    assert rendered >= 0.8 * len(paths) * len(CONVERSATIONS)
