"""The package `tokenizers` as all vocabularies use it: tokenizers of bytes, tokens around a text,
and calls whose panics, which are no ``Exception`` there, are made one here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from unisono.core.errors import CheckpointError, UnisonoError


@contextmanager
def native_call(failed: str, *, hint: str) -> Iterator[None]:
    """Raises:
    CheckpointError: ``failed`` and what the package said.
    """
    try:
        yield
    except (UnisonoError, KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        raise CheckpointError(f"{failed}: {str(error)[:200]}.", hint=hint) from error


def byte_level(
    vocab: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    patterns: Sequence[str],
    *,
    composes: bool,
    ignore_merges: bool,
) -> Backend:
    """A tokenizer that merges bytes, written in the byte alphabet.

    Args:
        patterns: regular expressions, applied one after the other, each to what the one before left
            whole; their matches are merged on their own.
        composes: bring a text to Unicode's form NFC first.
        ignore_merges: a word that is a token is that token, whether merges lead there or not.
    """
    backend = Backend(models.BPE(dict(vocab), list(merges), ignore_merges=ignore_merges))
    if composes:
        backend.normalizer = normalizers.NFC()
    steps = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    bytes_step = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([*steps, bytes_step])
    backend.decoder = decoders.ByteLevel()
    return backend


def surround(backend: Backend, front: Sequence[str], back: Sequence[str]) -> None:
    """Puts tokens around each text, where the vocabulary has all of them."""
    ids = {text: backend.token_to_id(text) for text in (*front, *back)}
    known = [(text, token_id) for text, token_id in ids.items() if token_id is not None]
    if known and len(known) == len(ids):
        backend.post_processor = processors.TemplateProcessing(
            single=[*front, "$A", *back], special_tokens=known
        )
