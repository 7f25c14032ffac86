"""A SentencePiece model as a native tokenizer: the same tokens, made by the package `tokenizers`.

BPE (Sennrich et al. 2016) merges the pair with the best score first, unigram (Kudo 2018) takes the
likeliest pieces. Follows the library `sentencepiece` for text, and transformers for what lies
around it: where a text is cut at special tokens, and which of these are put in front of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from tokenizers import (
    AddedToken,
    Regex,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
)
from tokenizers import Tokenizer as Backend

from unisono.core.errors import UnsupportedModelError
from unisono.text.vocabulary.byte_pairs import merges_by_rank
from unisono.text.vocabulary.sentencepiece_model import Piece, PieceKind, SentencePieceModel

Prefix = Literal["first", "always"]
_UNIGRAM, _BPE = 1, 2
_SPACE = "▁"
_NEVER = -1e4
"""Score of a piece that no text may become by being spelt like it."""


def build_backend(model: SentencePieceModel, config: Mapping[str, Any]) -> Backend:
    """The tokenizer of ``model`` under ``tokenizer_config.json``.

    Raises:
        UnsupportedModelError: it is made of words or characters, or writes spaces in another way.
    """
    if model.algorithm not in (_UNIGRAM, _BPE):
        raise _unsupported("neither unigram nor BPE")
    if model.space_is_suffix or not model.escapes_spaces:
        raise _unsupported("of a kind that does not write spaces in front of words")
    backend = Backend(_unigram(model) if model.algorithm == _UNIGRAM else _bpe(model))
    mark_spaces(
        backend,
        prefix=_prefix(model, config),
        prepare=_preparation(model),
        removes_extra=model.removes_extra_spaces,
    )
    backend.add_tokens(_added_tokens(model))
    return backend


def named_pieces(model: SentencePieceModel) -> dict[str, str]:
    """``bos_token`` and its kind, as the model itself has them."""
    ids = {"unk": model.unk_id, "bos": model.bos_id, "eos": model.eos_id, "pad": model.pad_id}
    return {
        f"{name}_token": model.pieces[piece_id].text
        for name, piece_id in ids.items()
        if 0 <= piece_id < len(model.pieces)
    }


def rename_pieces(
    model: SentencePieceModel, declared: Mapping[int, AddedToken]
) -> SentencePieceModel:
    """The model with the names that the config gives to pieces, mostly reserved ones. ``declared``:
    tokens by id."""
    pieces = list(model.pieces)
    known = {piece.text for piece in pieces}
    for index, token in declared.items():
        if 0 <= index < len(pieces) and token.content not in known:
            kind = PieceKind.CONTROL if token.special else PieceKind.USER_DEFINED
            pieces[index] = Piece(token.content, pieces[index].score, kind)
            known.add(token.content)
    return replace(model, pieces=pieces)


def _bpe(model: SentencePieceModel) -> models.BPE:
    """The best score is the lowest rank."""
    vocab = {piece.text: index for index, piece in enumerate(model.pieces)}
    ranks = {
        piece.text: (-piece.score, index)
        for index, piece in enumerate(model.pieces)
        if piece.kind is PieceKind.NORMAL
    }
    return models.BPE(
        vocab=vocab,
        merges=merges_by_rank(ranks),
        unk_token=model.pieces[model.unk_id].text,
        fuse_unk=True,
        byte_fallback=model.byte_fallback,
    )


def _unigram(model: SentencePieceModel) -> models.Unigram:
    spoken = (PieceKind.NORMAL, PieceKind.USER_DEFINED)
    vocab = [
        (piece.text, piece.score if piece.kind in spoken else _NEVER) for piece in model.pieces
    ]
    return models.Unigram(vocab, unk_id=model.unk_id, byte_fallback=model.byte_fallback)


def mark_spaces(
    backend: Backend,
    *,
    prefix: Prefix | None,
    prepare: Sequence[normalizers.Normalizer] = (),
    removes_extra: bool = False,
) -> None:
    """Makes ``backend`` write spaces as SentencePiece does, and read them back.

    Args:
        prefix: where a space is put in front of a text: at its beginning alone, or behind each
            special token too.
        prepare: what is done to a text before.
        removes_extra: spaces at the ends and repeated ones do not count.
    """
    extra = [
        normalizers.Replace(Regex(f"[ {_SPACE}]+$"), ""),
        normalizers.Replace(Regex(" {2,}"), " "),
    ]
    steps = [*prepare, *(extra if removes_extra else ()), normalizers.Replace(" ", _SPACE)]
    backend.normalizer = normalizers.Sequence(steps)
    back = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if prefix is not None:
        backend.pre_tokenizer = _prefixer(prefix, strict=not removes_extra)
        back.append(decoders.Strip(" ", 1, 0))
    backend.decoder = decoders.Sequence(back)


def _preparation(model: SentencePieceModel) -> list[normalizers.Normalizer]:
    return [normalizers.Precompiled(model.charsmap)] if model.charsmap else []


def _prefixer(prefix: Prefix, *, strict: bool) -> pre_tokenizers.PreTokenizer:
    """A space in front of a text; ``strict``: also of one that begins with a space.

    `Metaspace` leaves a text alone that begins with its mark. Spaces are marks already when the
    first of the two comes, so its own mark, the space itself, is nowhere.
    """
    if not strict:
        return pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme=prefix, split=False)
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement=" ", prepend_scheme=prefix, split=False),
            pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="never", split=False),
        ]
    )


def _prefix(model: SentencePieceModel, config: Mapping[str, Any]) -> Prefix | None:
    """``legacy`` says whether the text behind a special token gets a space too. Where it is
    missing, tokenizer classes do so, but for the Llama tokenizer since transformers 5."""
    own, legacy = config.get("add_prefix_space"), config.get("legacy")
    if not (model.adds_prefix if own is None else own):
        return None
    if legacy is None:
        legacy = str(config.get("tokenizer_class")).removesuffix("Fast") != "LlamaTokenizer"
    return "always" if legacy else "first"


def _unsupported(kind: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"The model's SentencePiece tokenizer is {kind}.",
        hint="Use a checkpoint of the model that has a tokenizer.json.",
    )


def _added_tokens(model: SentencePieceModel) -> list[AddedToken]:
    """Control pieces and the symbols that are never split."""
    kinds = (PieceKind.CONTROL, PieceKind.USER_DEFINED)
    return [
        AddedToken(
            piece.text,
            special=piece.kind is PieceKind.CONTROL,
            normalized=piece.kind is PieceKind.USER_DEFINED and not model.charsmap,
        )
        for piece in model.pieces
        if piece.kind in kinds
    ]
