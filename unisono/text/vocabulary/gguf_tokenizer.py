"""The tokenizer and the chat templates that a GGUF file carries in its metadata.

Byte-level vocabularies come with merges; sentencepiece ones with scores, from which the merges
follow, or, as Gemma 4's, with merges too. Knows nothing of tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, models
from tokenizers import Tokenizer as Backend

from unisono.core.errors import CheckpointError, UnsupportedModelError
from unisono.gguf.files import GgufFile
from unisono.gguf.metadata import Metadata
from unisono.text.templates.files import check_size
from unisono.text.vocabulary.built_tokenizer import BuiltTokenizer
from unisono.text.vocabulary.byte_pairs import merges_by_rank
from unisono.text.vocabulary.gguf_splits import MARKED_SPACES, SPLITS
from unisono.text.vocabulary.native import byte_level, native_call, surround
from unisono.text.vocabulary.sentencepiece_backend import mark_spaces

_PREFIX = "tokenizer.ggml."
_TEMPLATE = "tokenizer.chat_template"
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4
_NAMED = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "sep_token": "seperator_token_id",
    "pad_token": "padding_token_id",
    "mask_token": "mask_token_id",
}


def read_gguf_tokenizer(path: Path) -> BuiltTokenizer:
    """Raises:
    CheckpointError: no tokenizer in it, or one that contradicts itself.
    UnsupportedModelError: a kind that is not read.
    """
    metadata = GgufFile.read(path).metadata
    vocabulary = _Vocabulary.read(metadata)
    kind = metadata.required_text(f"{_PREFIX}model")
    if kind not in _KINDS:
        raise UnsupportedModelError(
            f"{metadata.source} has a tokenizer of kind {kind!r:.40}, which is not read.",
            hint=f"Read are: {', '.join(_KINDS)}. Fetch the model as safetensors.",
        )
    with native_call(
        f"{metadata.source}: its tokenizer cannot be used",
        hint="Fetch the file again, or another one of the model.",
    ):
        backend = _KINDS[kind](metadata, vocabulary)
        _add_tokens(backend, vocabulary)
    return BuiltTokenizer(
        backend=backend,
        named=vocabulary.named(metadata),
        chat_templates=_chat_templates(metadata),
    )


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    tokens: list[str]
    kinds: list[int | float]
    """The type of each token; all are ordinary where the file does not say."""

    @classmethod
    def read(cls, metadata: Metadata) -> _Vocabulary:
        tokens = metadata.texts(f"{_PREFIX}tokens")
        if not tokens:
            raise CheckpointError(
                f"{metadata.source} has no tokenizer.",
                hint="Fetch a complete GGUF file of the model, or its safetensors.",
            )
        kinds = metadata.numbers(f"{_PREFIX}token_type") or [_NORMAL] * len(tokens)
        if len(kinds) != len(tokens):
            raise CheckpointError(
                f"{metadata.source} has {len(tokens)} tokens and {len(kinds)} kinds of them."
            )
        return cls(tokens, kinds)

    def ids(self) -> dict[str, int]:
        return {token: index for index, token in enumerate(self.tokens)}

    def ranks(self, scores: list[int | float]) -> dict[str, tuple[float, int]]:
        """Ranks of ordinary tokens: the best score comes first."""
        rows = enumerate(zip(self.tokens, self.kinds, scores, strict=True))
        return {token: (-score, i) for i, (token, kind, score) in rows if kind == _NORMAL}

    def of_kind(self, kind: int) -> list[str]:
        pairs = zip(self.tokens, self.kinds, strict=True)
        return [token for token, own in pairs if own == kind and token]

    def text(self, metadata: Metadata, key: str) -> str | None:
        """The text of the token whose id the file has under a key."""
        index = metadata.integer(_PREFIX + key)
        return self.tokens[index] if index is not None and 0 <= index < len(self.tokens) else None

    def named(self, metadata: Metadata) -> dict[str, str]:
        texts = {name: self.text(metadata, key) for name, key in _NAMED.items()}
        return {name: text for name, text in texts.items() if text}


def _byte_level(metadata: Metadata, vocabulary: _Vocabulary) -> Backend:
    name = metadata.text(f"{_PREFIX}pre") or "default"
    if name in MARKED_SPACES:
        return _marked(metadata, vocabulary)
    split = SPLITS.get(name)
    if split is None:
        raise UnsupportedModelError(
            f"{metadata.source} cuts text into words by {name!r:.40}, which is not known.",
            hint=f"Known are: {', '.join(sorted({*SPLITS, *MARKED_SPACES}))}. "
            "Fetch the model as safetensors.",
        )
    backend = byte_level(
        vocabulary.ids(),
        _given_merges(metadata),
        split.patterns,
        composes=split.composes,
        ignore_merges=split.ignore_merges,
    )
    _surround(backend, metadata, vocabulary, adds_bos=split.adds_bos)
    return backend


def _given_merges(metadata: Metadata) -> list[tuple[str, str]]:
    merges = metadata.texts(f"{_PREFIX}merges")
    if merges is None:
        raise CheckpointError(f"{metadata.source} has no merges for its vocabulary.")
    return [_pair(merge) for merge in merges]


def _pair(merge: str) -> tuple[str, str]:
    left, _, right = merge[1:].partition(" ")
    return merge[:1] + left, right


def _sentencepiece(metadata: Metadata, vocabulary: _Vocabulary) -> Backend:
    scores = metadata.numbers(f"{_PREFIX}scores")
    if metadata.texts(f"{_PREFIX}merges") is not None:
        merges = _given_merges(metadata)
    elif scores is not None and len(scores) == len(vocabulary.tokens):
        merges = merges_by_rank(vocabulary.ranks(scores))
    else:
        raise CheckpointError(f"{metadata.source} has no score for each token of its vocabulary.")
    return _of_merges(metadata, vocabulary, merges, spaced=True, adds_bos=True)


def _marked(metadata: Metadata, vocabulary: _Vocabulary) -> Backend:
    merges = _given_merges(metadata)
    return _of_merges(metadata, vocabulary, merges, spaced=False, adds_bos=False)


def _of_merges(
    metadata: Metadata,
    vocabulary: _Vocabulary,
    merges: list[tuple[str, str]],
    *,
    spaced: bool,
    adds_bos: bool,
) -> Backend:
    """A tokenizer whose vocabulary marks spaces. ``spaced``: a text gets a space in front; both
    where the file does not say."""
    unknown = vocabulary.text(metadata, "unknown_token_id") or next(
        iter(vocabulary.of_kind(_UNKNOWN)), None
    )
    model = models.BPE(
        vocabulary.ids(), merges, unk_token=unknown, fuse_unk=True, byte_fallback=True
    )
    backend = Backend(model)
    prefixed = metadata.flag(f"{_PREFIX}add_space_prefix", spaced)
    mark_spaces(backend, prefix="always" if prefixed else None)
    _surround(backend, metadata, vocabulary, adds_bos=adds_bos)
    return backend


def _surround(
    backend: Backend, metadata: Metadata, vocabulary: _Vocabulary, *, adds_bos: bool
) -> None:
    """Put the tokens around a text that the file says."""
    begin = vocabulary.text(metadata, "bos_token_id")
    end = vocabulary.text(metadata, "eos_token_id")
    before = [begin] if begin and metadata.flag(f"{_PREFIX}add_bos_token", adds_bos) else []
    behind = [end] if end and metadata.flag(f"{_PREFIX}add_eos_token", False) else []
    surround(backend, before, behind)


def _add_tokens(backend: Backend, vocabulary: _Vocabulary) -> None:
    """Tokens that are found in a text before it is cut into words."""
    control = [*vocabulary.of_kind(_CONTROL), *vocabulary.of_kind(_UNKNOWN)]
    backend.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in control]
    )
    own = vocabulary.of_kind(_USER_DEFINED)
    backend.add_tokens([AddedToken(token, special=False, normalized=False) for token in own])


def _chat_templates(metadata: Metadata) -> dict[str, str]:
    templates = {"default": metadata.text(_TEMPLATE)}
    for name in metadata.texts(f"{_TEMPLATE}s") or []:
        templates[name] = metadata.text(f"{_TEMPLATE}.{name}")
    found = {name: text for name, text in templates.items() if text is not None}
    check_size(found)
    return found


_KINDS: dict[str, Callable[[Metadata, _Vocabulary], Backend]] = {
    "gpt2": _byte_level,
    "llama": _sentencepiece,
    "gemma4": _marked,
}
