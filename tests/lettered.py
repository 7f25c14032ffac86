"""A vocabulary of letters for tiny checkpoints, so that their answers may be held to a grammar."""

from __future__ import annotations

from unisono.text.grammar.compiler import GrammarCompiler
from unisono.text.grammar.vocabulary import Vocabulary

EOS = 2
LETTERS = b'{}[]",:0123456789abcdefghijklmnopqrstuvwxyz -.'


def vocabulary() -> Vocabulary:
    """A few words of letters; the other ids say nothing."""
    words = [bytes([letter]) for letter in LETTERS] + [b'": ', b'", "', b"ree", b"12"]
    return Vocabulary((b"", b"", b"<end>", *words), (EOS,))


def compiler(size: int, eos_token_ids: frozenset[int]) -> GrammarCompiler:
    return GrammarCompiler(vocabulary, size, eos_token_ids)


def text(token_ids: list[int]) -> str:
    """The letters that tokens say."""
    tokens = vocabulary().tokens
    return b"".join(tokens[i] for i in token_ids if i != EOS and i < len(tokens)).decode()
