"""A model folder's tokenizer: text to token ids and back, and conversations to prompts.

Reads a vocabulary and the small files beside it as data; runs no code from the folder. Knows
nothing of models or streams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unisono.core.errors import ContextLengthError, InvalidRequestError
from unisono.core.folder_files import read_json_object
from unisono.gguf import is_gguf
from unisono.text.backend import Backend, check_text, load_backend, spelling_of
from unisono.text.chat_template import ChatTemplate
from unisono.text.gguf_tokenizer import read_gguf_tokenizer
from unisono.text.message_content import kept_text
from unisono.text.native import native_call
from unisono.text.special_tokens import (
    add_missing_tokens,
    merge_legacy_map,
    merge_legacy_tokens,
    named_tokens,
)
from unisono.text.spelling import Spelling
from unisono.text.template_files import read_chat_templates
from unisono.text.token_bound import read_token_bound

__all__ = ["Tokenizer"]

_MAX_CONFIG_BYTES = 16 << 20


class Tokenizer:
    """Made by :meth:`load`. Safe to use from several threads."""

    def __init__(
        self, backend: Backend, *, named: Mapping[str, str], chat_templates: Mapping[str, str]
    ) -> None:
        self._backend = backend
        self._named = dict(named)
        self._spelling = spelling_of(backend)
        self._bound = read_token_bound(backend)
        self._pieces: dict[int, str | bytes] = {}
        self._chat = ChatTemplate(chat_templates, variables=self._named)
        added = backend.get_added_tokens_decoder()
        self.special_ids = frozenset(token_id for token_id, token in added.items() if token.special)
        """Ids of the tokens that ``skip_special_tokens`` leaves out."""
        self.vocab_size = 1 + max(backend.get_vocab(with_added_tokens=True).values(), default=-1)
        """One more than the largest token id, added tokens included."""

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """The tokenizer of a model folder, or of a GGUF file.

        Raises:
            CheckpointError: a file is missing, too large or corrupt.
            UnsupportedModelError: the vocabulary is of a kind that is not known.
        """
        if is_gguf(folder):
            own = read_gguf_tokenizer(folder)
            return cls(own.backend, named=own.named, chat_templates=own.chat_templates)
        config = read_json_object(folder / "tokenizer_config.json", _MAX_CONFIG_BYTES)
        legacy = read_json_object(folder / "special_tokens_map.json", _MAX_CONFIG_BYTES)
        added = read_json_object(folder / "added_tokens.json", _MAX_CONFIG_BYTES)
        config = merge_legacy_tokens(merge_legacy_map(config, legacy), added)
        backend, config = load_backend(folder, config)
        add_missing_tokens(backend, config)
        templates = read_chat_templates(folder, config)
        return cls(backend, named=named_tokens(config), chat_templates=templates)

    @property
    def bos_token(self) -> str | None:
        """The text of the token that begins a sequence, where the model has one."""
        return self._named.get("bos_token")

    @property
    def eos_token(self) -> str | None:
        """The text of the token that ends a sequence, where the model has one."""
        return self._named.get("eos_token")

    @property
    def spelling(self) -> Spelling:
        """How the vocabulary writes text."""
        return self._spelling

    def token_id(self, token: str) -> int | None:
        """The id of a token of the vocabulary, such as ``eos_token``."""
        return self._backend.token_to_id(token)

    def is_special(self, token_id: int) -> bool:
        return token_id in self.special_ids

    def check_length(self, text: str, max_tokens: int) -> None:
        """Refuses, without tokenizing, a text that certainly has more than ``max_tokens`` tokens.

        Cheap for a text of any length; one that passes may still have more.

        Raises:
            InvalidRequestError: not text, or text with half a surrogate pair.
            ContextLengthError: it has more.
        """
        check_text(text)
        if self._bound.is_exceeded(text, max_tokens):
            raise _too_long(max_tokens)

    def encode(
        self, text: str, *, add_special_tokens: bool = True, max_tokens: int | None = None
    ) -> list[int]:
        """Token ids of ``text``, with the special tokens that ``tokenizer.json`` puts around it.

        Args:
            max_tokens: refuse a text of more tokens, before it is tokenized where its length says
                so (:meth:`check_length`).

        Raises:
            InvalidRequestError: not text, or text with half a surrogate pair.
            ContextLengthError: more tokens than ``max_tokens``.
            CheckpointError: the model's tokenizer breaks down over it.
        """
        if max_tokens is None:
            check_text(text)
        else:
            self.check_length(text, max_tokens)
        with native_call(
            "the model's tokenizer fails on this text",
            hint="Fetch the model again, or upgrade the package `tokenizers`.",
        ):
            # As a batch of one: alone of the two it lets other threads of the process run.
            (encoding,) = self._backend.encode_batch_fast(
                [text], add_special_tokens=add_special_tokens
            )
        if max_tokens is not None and len(encoding.ids) > max_tokens:
            raise _too_long(max_tokens, len(encoding.ids))
        return encoding.ids

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Text of a whole sequence; ids that the vocabulary lacks say nothing.

        Raises:
            InvalidRequestError: an id that is no number from 0 to 2**32 - 1.
        """
        try:
            return self._backend.decode(list(token_ids), skip_special_tokens=skip_special_tokens)
        except (TypeError, OverflowError) as error:
            raise InvalidRequestError("token ids are numbers from 0 to 2**32 - 1.") from error

    def piece(self, token_id: int) -> str | bytes | None:
        """What a token says behind other tokens: text, or bytes that may be part of a character.

        ``None`` for an id that the vocabulary lacks.
        """
        piece = self._pieces.get(token_id)
        if piece is None and (token := self._token(token_id)) is not None:
            piece = self._pieces[token_id] = self._spelling.piece(token)
        return piece

    def first_piece(self, token_id: int) -> str | bytes | None:
        """The same for a token that begins a text."""
        token = self._token(token_id)
        return None if token is None else self._spelling.first_piece(token)

    def token_bytes(self, token_id: int) -> bytes | None:
        """UTF-8 bytes of one token (maybe part of a character), ``None`` for an unknown id."""
        piece = self.piece(token_id)
        return piece.encode() if isinstance(piece, str) else piece

    def token_text(self, token_id: int) -> str:
        """The same as text: U+FFFD for what is not a whole character, empty for an unknown id."""
        return (self.token_bytes(token_id) or b"").decode("utf-8", "replace")

    def check_chat_template(self) -> None:
        """Compiles the model's chat templates now, so that the first conversation need not wait.

        Raises:
            CheckpointError: a template does not compile.
        """
        self._chat.check()

    def render_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt of a conversation, as the model's own template writes it.

        Args:
            messages: role and content, as JSON data; at least one. A content is text or a list of
                parts of text, and reaches the template in the form that it takes.
            tools: JSON descriptions of the functions the model may call.
            documents: texts to answer from, mostly with ``title`` and ``text``.
            add_generation_prompt: end with the header of the next answer.
            continue_final_message: end inside the last message instead, for the model to go on.
            template_kwargs: further variables of the template, as JSON data.

        Raises:
            InvalidRequestError: the template refuses the messages or exceeds its limits, an
                argument is wrong, or the model has no template.
            CheckpointError: the template does not compile.
        """
        text = self._chat.render(
            messages,
            tools=tools,
            documents=documents,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            template_kwargs=template_kwargs,
        )
        check_text(text)
        return text

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        template_kwargs: Mapping[str, Any] | None = None,
        max_tokens: int | None = None,
    ) -> list[int]:
        """Token ids of :meth:`render_chat`; the template has written the special tokens.

        Args:
            max_tokens: as of :meth:`encode`; messages that no template leaves out are looked at
                before anything is rendered.
        """
        if max_tokens is not None:
            self.check_length(kept_text(messages), max_tokens)
        text = self.render_chat(
            messages,
            tools=tools,
            documents=documents,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            template_kwargs=template_kwargs,
        )
        return self.encode(text, add_special_tokens=False, max_tokens=max_tokens)

    def _token(self, token_id: int) -> str | None:
        return self._backend.id_to_token(token_id) if 0 <= token_id < self.vocab_size else None


def _too_long(max_tokens: int, num_tokens: int | None = None) -> ContextLengthError:
    has = "more" if num_tokens is None else str(num_tokens)
    return ContextLengthError(
        f"The prompt may have {max_tokens} tokens and has {has}.",
        param="prompt",
        hint="Shorten the prompt.",
    )
