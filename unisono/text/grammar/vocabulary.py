"""A vocabulary as constraints read it: the bytes of every token, by id.

Knows nothing of how text becomes tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

from unisono.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Vocabulary:
    tokens: tuple[bytes, ...]
    """By id, what each says behind other tokens; empty where an id says nothing. Of special
    tokens the name."""
    special_ids: tuple[int, ...]
    """Tokens that are no text, whatever their name."""

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Vocabulary:
        """The vocabulary of a tokenizer."""
        ids = range(tokenizer.vocab_size)
        tokens = tuple(tokenizer.token_bytes(token_id) or b"" for token_id in ids)
        return cls(tokens, tuple(sorted(tokenizer.special_ids)))

    @property
    def special_names(self) -> dict[str, int]:
        """Special tokens by name."""
        names = {i: self.tokens[i].decode("utf-8", "replace") for i in self.special_ids}
        return {name: token_id for token_id, name in names.items() if name}

    def sized(self, size: int) -> Vocabulary:
        """The same for a model that scores ``size`` tokens."""
        missing = (b"",) * (size - len(self.tokens))
        special_ids = tuple(token_id for token_id in self.special_ids if token_id < size)
        return Vocabulary(self.tokens[:size] + missing, special_ids)

    def reduced(self) -> Vocabulary:
        """Special tokens and single bytes alone: what can be said at all, it can say."""
        special = frozenset(self.special_ids)
        tokens = [text if i in special else b"" for i, text in enumerate(self.tokens)]
        free = [i for i in range(len(tokens) + 256) if i not in special][:256]
        tokens += [b""] * (free[-1] + 1 - len(tokens))
        for byte, token_id in enumerate(free):
            tokens[token_id] = bytes([byte])
        return Vocabulary(tuple(tokens), self.special_ids)
