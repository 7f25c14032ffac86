"""A model folder's tokenizer: text to token ids and back, and conversations to prompts.

Reads a vocabulary and the small files beside it as data; runs no code from the folder. Knows
nothing of models or streams.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unisono.core.errors import ContextLengthError, InvalidRequestError
from unisono.text.templates.chat_template import ChatOptions, ChatTemplate
from unisono.text.templates.message_content import kept_text
from unisono.text.tokenizer_process import TokenizerProcess
from unisono.text.vocabulary.spelling import Spelling, read_spelling

if TYPE_CHECKING:
    from typing import Unpack  # since Python 3.11

_SLICE_CHARS = 1 << 18
"""Characters looked at in one piece, so that no copy of a long text is made."""


class Tokenizer:
    """Made by :meth:`load`. Safe to use from several threads.

    What a model brings with it runs in limited processes (``tokenizer_process``); what is asked of
    one token is answered here.
    """

    def __init__(self, process: TokenizerProcess) -> None:
        facts = process.facts
        self._process = process
        self._tokens = facts.tokens
        self._named = facts.named
        self._bound = facts.bound
        self._spelling = read_spelling(facts.decoder)
        self._pieces: dict[int, str | bytes] = {}
        self._chat = ChatTemplate(facts.chat_templates, variables=self._named)
        self.special_ids = facts.special_ids
        """Ids of the tokens that ``skip_special_tokens`` leaves out."""
        self.vocab_size = 1 + max(self._tokens, default=-1)
        """One more than the largest token id, added tokens included."""

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """The tokenizer of a model folder, or of a GGUF file.

        Raises:
            CheckpointError: a file is missing, too large or corrupt, or the tokenizer asks for
                more memory or time than it may.
            UnsupportedModelError: the vocabulary is of a kind that is not known.
            HelperFailedError: the process that builds it was killed or stopped.
        """
        return cls(TokenizerProcess(folder))

    @property
    def bos_token(self) -> str | None:
        """The text of the token that begins a sequence, where the model has one."""
        return self._named.get("bos_token")

    @property
    def eos_token(self) -> str | None:
        """The text of the token that ends a sequence, where the model has one."""
        return self._named.get("eos_token")

    @property
    def chat_templates(self) -> Mapping[str, str]:
        """The model's chat templates, by name."""
        return self._chat.templates

    @property
    def spelling(self) -> Spelling:
        """The vocabulary's way to write text."""
        return self._spelling

    def token_id(self, token: str) -> int | None:
        """The id of a token of the vocabulary, such as ``eos_token``."""
        return self._ids.get(token)

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
            InvalidRequestError: the tokenizer makes so much of it that it is stopped.
            CheckpointError: the model's tokenizer breaks down over it.
            HelperFailedError: the process that runs it was killed or stopped: try again.
        """
        if max_tokens is None:
            check_text(text)
        else:
            self.check_length(text, max_tokens)
        token_ids = self._process.encode(text, add_special_tokens=add_special_tokens)
        if max_tokens is not None and len(token_ids) > max_tokens:
            raise _too_long(max_tokens, len(token_ids))
        return token_ids

    def encode_literally(self, text: str, other: str | None = None) -> list[int]:
        """Token ids of a stranger's text, in which what looks like a special token is text; or of
        two as a pair, with the special tokens that ``tokenizer.json`` puts around pairs.

        Raises:
            As :meth:`encode`.
        """
        for one in (text, other):
            if one is not None:
                check_text(one)
        return self._process.encode_literally(text, other)

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Text of a whole sequence; ids that the vocabulary lacks say nothing.

        Raises:
            InvalidRequestError: an id that is no number from 0 to 2**32 - 1.
        """
        try:
            given = array("I", token_ids)
        except (TypeError, OverflowError) as error:
            raise InvalidRequestError("token ids are numbers from 0 to 2**32 - 1.") from error
        return self._process.decode(given, skip_special_tokens=skip_special_tokens)

    def piece(self, token_id: int) -> str | bytes | None:
        """The meaning of a token behind other tokens: text, or bytes of a part of a character.

        ``None`` for an id that the vocabulary lacks.
        """
        piece = self._pieces.get(token_id)
        if piece is None and (token := self._tokens.get(token_id)) is not None:
            piece = self._pieces[token_id] = self._spelling.piece(token)
        return piece

    def first_piece(self, token_id: int) -> str | bytes | None:
        """The same for a token that begins a text."""
        token = self._tokens.get(token_id)
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

    def template_reads(self, name: str) -> bool:
        """Returns whether a chat template of the model speaks of a variable of this name."""
        return self._chat.reads(name)

    def template_has_role(self, role: str) -> bool:
        """Returns whether a chat template of the model names this role: what it does with
        another is a matter of chance."""
        return self._chat.has_role(role)

    def render_chat(
        self, messages: Sequence[Mapping[str, Any]], **options: Unpack[ChatOptions]
    ) -> str:
        """The prompt of a conversation, as the model's own template writes it.

        Args:
            messages: role and content, as JSON data; at least one. A content is text or a list of
                parts of text, and reaches the template in the form that it takes.
            options: those of ``ChatOptions`` (``templates/chat_template.py``): tools, documents,
                where to end, and further variables of the template.

        Raises:
            InvalidRequestError: the template refuses the messages or exceeds its limits, an
                argument is wrong, or the model has no template.
            CheckpointError: the template does not compile.
        """
        text = self._chat.render(messages, **options)
        check_text(text)
        return text

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        max_tokens: int | None = None,
        **options: Unpack[ChatOptions],
    ) -> list[int]:
        """Token ids of :meth:`render_chat`; the template has written the special tokens.

        Args:
            max_tokens: as of :meth:`encode`; messages that no template leaves out are looked at
                before anything is rendered.
            options: those of ``ChatOptions``, as of :meth:`render_chat`.

        Raises:
            InvalidRequestError: as of :meth:`render_chat`, or the template would drop tools,
                documents or a system message.
        """
        if max_tokens is not None:
            self.check_length(kept_text(messages), max_tokens)
        self._chat.check_all_is_said(
            messages, tools=options.get("tools"), documents=options.get("documents")
        )
        text = self.render_chat(messages, **options)
        return self.encode(text, add_special_tokens=False, max_tokens=max_tokens)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {text: token_id for token_id, text in self._tokens.items()}


def check_text(text: str) -> None:
    """Raises:
    InvalidRequestError: not text, or text with half a surrogate pair.
    """
    if not isinstance(text, str):
        raise InvalidRequestError(f"expected text, not {type(text).__name__}.")
    if text.isascii():
        return
    try:
        for start in range(0, len(text), _SLICE_CHARS):
            text[start : start + _SLICE_CHARS].encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            "the text holds half a surrogate pair, which is no character.",
            hint="Send valid Unicode.",
        ) from error


def _too_long(max_tokens: int, num_tokens: int | None = None) -> ContextLengthError:
    has = "more" if num_tokens is None else str(num_tokens)
    return ContextLengthError(
        f"The prompt may have {max_tokens} tokens and has {has}.",
        param="prompt",
        hint="Shorten the prompt.",
    )
