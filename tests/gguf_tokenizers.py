"""The metadata with which llama.cpp's converter writes a tokenizer, from a ``tokenizers`` one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gguf import GGUFWriter, TokenType
from tokenizers import Tokenizer as Backend


def write_tokenizer(path: Path, add: Any, backend: Backend, **fields: Any) -> Path:
    """A GGUF file without tensors."""
    writer = GGUFWriter(path, "llama")
    add(writer, backend, **fields)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def add_byte_level(
    writer: GGUFWriter, backend: Backend, *, pre: str, template: str | None = None, **ids: int
) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    tokens = _add_tokens(writer, backend)
    assert tokens
    merges = json.loads(backend.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(merge) for merge in merges])
    _add_rest(writer, template, ids)


def add_sentencepiece(
    writer: GGUFWriter, backend: Backend, *, template: str | None = None, **ids: int
) -> None:
    """A token's score is higher, the earlier its merge; sentencepiece numbers them so."""
    writer.add_tokenizer_model("llama")
    tokens = _add_tokens(writer, backend)
    merges = json.loads(backend.to_str())["model"]["merges"]
    ranks = {
        left + right: -float(rank) for rank, (left, right) in reversed(list(enumerate(merges)))
    }
    writer.add_token_scores([ranks.get(token, -1e6) for token in tokens])
    _add_rest(writer, template, ids)


def _add_tokens(writer: GGUFWriter, backend: Backend) -> list[str]:
    texts = {index: token for token, index in backend.get_vocab(with_added_tokens=True).items()}
    tokens = [texts[index] for index in sorted(texts)]
    added = {each.content: each.special for each in backend.get_added_tokens_decoder().values()}
    writer.add_token_list(tokens)
    writer.add_token_types([_kind(token, added) for token in tokens])
    return tokens


def _kind(token: str, added: dict[str, bool]) -> int:
    if token == "<unk>":
        return TokenType.UNKNOWN
    if token in added:
        return TokenType.CONTROL if added[token] else TokenType.USER_DEFINED
    return TokenType.BYTE if token.startswith("<0x") else TokenType.NORMAL


def _add_rest(writer: GGUFWriter, template: str | None, ids: dict[str, int]) -> None:
    if template is not None:
        writer.add_chat_template(template)
    for name, index in ids.items():
        getattr(writer, f"add_{name}_token_id")(index)
