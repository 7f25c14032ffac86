"""Tokenizers that GGUF files carry, against the tokenizers that they were written from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFWriter
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from tests.gguf_tokenizers import add_byte_level, add_sentencepiece, write_tokenizer
from tests.small_tokenizers import CORPUS, gemma, llama2, llama3, qwen
from unisono.core.errors import CheckpointError, UnsupportedModelError
from unisono.text import Tokenizer
from unisono.text.vocabulary.gguf_splits import MARKED_SPACES, SPLITS

TEXTS = [
    *CORPUS[:5],
    "",
    " ",
    "  leading and   inner  ",
    "I'LL go, it's 1234567 o'clock\r\n\r\nnew\n\n\nlines",
    "emoji 👩‍👩‍👧 🇪🇺 and e\u0301 composed é",
    "<|im_start|>user\nhi<|im_end|><think>x</think>",
    "<s>[INST] a [/INST]</s>",
    "\t\tif x:\n\t\t\treturn {'a': 1}\n",
]
TEMPLATE = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"


def read_qwen(folder: Path) -> tuple[Any, Tokenizer]:
    backend, _ = qwen()
    end = backend.token_to_id("<|im_end|>")
    path = folder / "qwen.gguf"
    write_tokenizer(path, add_byte_level, backend, pre="qwen2", template=TEMPLATE, eos=end)
    return backend, Tokenizer.load(path)


def read_llama3(folder: Path) -> tuple[Any, Tokenizer]:
    backend, _ = llama3()
    backend.model.ignore_merges = True
    ids = {
        "bos": backend.token_to_id("<|begin_of_text|>"),
        "eos": backend.token_to_id("<|eot_id|>"),
    }
    path = write_tokenizer(folder / "llama3.gguf", add_byte_level, backend, pre="llama-bpe", **ids)
    return backend, Tokenizer.load(path)


def read_llama2(folder: Path) -> tuple[Any, Tokenizer]:
    backend, _ = llama2()
    ids = {"bos": 1, "eos": 2, "unk": 0}
    path = write_tokenizer(folder / "llama2.gguf", add_sentencepiece, backend, **ids)
    return backend, Tokenizer.load(path)


def add_gemma4(writer: GGUFWriter, backend: Any, *, kind: str, pre: str | None = None) -> None:
    """Spaces are marked as in sentencepiece, and the merges are in the file."""
    add_byte_level(writer, backend, pre=pre or "gemma4", bos=1, unk=0)
    writer.add_bool("tokenizer.ggml.add_bos_token", True)
    writer.kv_data[0]["tokenizer.ggml.model"].value = kind


def read_gemma4(folder: Path) -> tuple[Any, Tokenizer]:
    backend, _ = gemma()
    path = write_tokenizer(folder / "gemma4.gguf", add_gemma4, backend, kind="gemma4")
    return backend, Tokenizer.load(path)


READERS = {"qwen": read_qwen, "llama2": read_llama2, "gemma4": read_gemma4}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("special", [False, True])
def test_the_same_ids_and_texts(name: str, special: bool, tmp_path: Path) -> None:
    backend, tokenizer = READERS[name](tmp_path)
    for text in TEXTS:
        expected = backend.encode(text, add_special_tokens=special).ids
        assert tokenizer.encode(text, add_special_tokens=special) == expected
        for skip in (False, True):
            decoded = backend.decode(expected, skip_special_tokens=skip)
            assert tokenizer.decode(expected, skip_special_tokens=skip) == decoded


@settings(max_examples=60)
@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    for backend, tokenizer in _BOTH:
        assert tokenizer.encode(text) == backend.encode(text).ids


def test_digits_by_three_and_a_beginning(tmp_path: Path) -> None:
    backend, tokenizer = read_llama3(tmp_path)
    begin = backend.token_to_id("<|begin_of_text|>")
    assert tokenizer.bos_token == "<|begin_of_text|>"
    assert tokenizer.encode("hello there")[0] == begin
    pieces = [tokenizer.token_text(each) for each in tokenizer.encode("1234567")[1:]]
    assert "".join(pieces) == "1234567"
    assert all(piece in ("123", "456", "7") or len(piece) < 3 for piece in pieces)


@pytest.mark.parametrize("pre", sorted(MARKED_SPACES))
def test_a_byte_level_kind_that_marks_spaces(pre: str, tmp_path: Path) -> None:
    backend, _ = gemma()
    path = write_tokenizer(tmp_path / "a.gguf", add_gemma4, backend, kind="gpt2", pre=pre)
    tokenizer = Tokenizer.load(path)
    for text in TEXTS:
        assert tokenizer.encode(text) == backend.encode(text).ids


@pytest.mark.parametrize(
    ("pre", "text", "words"),
    [
        (
            "deepseek-llm",
            "ab cd!? 12\n\n 统一 x",
            ["ab", " cd", "!?", " ", "12", "\n", "\n", " ", "统一", " x"],
        ),
        ("minicpm5", "it's 12345", ["it", "'s", " ", "123", "45"]),
        ("tiny_aya", "1234567 Ab", ["1", "234", "567", " Ab"]),
        ("superbpe", "a1234567", ["a", "1", "234", "567"]),
        ("seed-coder", "a;\n\nb", ["a", ";", "\n\n", "b"]),
        ("spark2_5", "x;\n\ny", ["x", ";", "\n", "\n", "y"]),
        ("ufakzeka", "Ankara'dan", ["Ankara", "'dan"]),
        ("kimi-k2", "你好Hello 12345", ["你好", "Hello", " ", "123", "45"]),
        ("viking", "ett 12, två", ["ett", " ", "1", "2", ",", " två"]),
        ("jais-2", "a       b", ["a", "    ", "  ", " b"]),
        ("laguna", "a \n b", ["a", " ", "\n", " b"]),
        ("youtu", "한글ABc，中文", ["한글", "ABc", "，", "中文"]),
        ("exaone-moe", "one two, 12", ["one two", ",", " ", "1", "2"]),
        ("glm5", "it's 12345", ["it", "'s", " ", "123", "45"]),
        ("chameleon", "a\t12!?", ["a", "\t", "1", "2", "!", "?"]),
    ],
)
def test_words_that_a_pattern_cuts(pre: str, text: str, words: list[str], tmp_path: Path) -> None:
    """Every part of the text is a token, so that each word becomes one."""
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    merges, tokens = all_merges("".join(part for part, _ in letters.pre_tokenize_str(text)))

    def add(writer: GGUFWriter, _: Any) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(tokens)
        writer.add_token_merges(merges)

    path = write_tokenizer(tmp_path / "a.gguf", add, None)  # type: ignore[arg-type]
    tokenizer = Tokenizer.load(path)
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert [tokenizer.token_bytes(each) for each in ids] == [word.encode() for word in words]


def all_merges(text: str) -> tuple[list[str], list[str]]:
    """Every part of a text, and every way to make one of two."""
    parts = {text[at:end] for at in range(len(text)) for end in range(at + 1, len(text) + 1)}
    ordered = sorted(parts, key=lambda part: (len(part), part))
    merges = [f"{part[:at]} {part[at:]}" for part in ordered for at in range(1, len(part))]
    return merges, [*sorted(set(pre_tokenizers.ByteLevel.alphabet()) - parts), *ordered]


def test_names_special_tokens_and_template(tmp_path: Path) -> None:
    backend, tokenizer = read_qwen(tmp_path)
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.is_special(backend.token_to_id("<|im_start|>"))
    assert not tokenizer.is_special(backend.token_to_id("<think>"))
    assert tokenizer.vocab_size == backend.get_vocab_size()
    assert tokenizer.render_chat([{"role": "user", "content": "hi"}]) == "[user]hi"


def test_every_pattern_can_be_used(tmp_path: Path) -> None:
    backend, _ = qwen()
    by_pattern = {repr(split): pre for pre, split in SPLITS.items()}
    for pre in by_pattern.values():
        path = write_tokenizer(tmp_path / f"{pre}.gguf", add_byte_level, backend, pre=pre)
        tokenizer = Tokenizer.load(path)
        for text in TEXTS:
            if not SPLITS[pre].composes:
                assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=False) == text


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda w: w.add_tokenizer_model("rwkv"), UnsupportedModelError, "rwkv"),
        (lambda w: None, CheckpointError, "tokenizer.ggml.model"),
        (
            lambda w: (w.add_tokenizer_model("gpt2"), w.add_tokenizer_pre("strange")),
            UnsupportedModelError,
            "strange",
        ),
        (lambda w: w.add_tokenizer_model("gpt2"), CheckpointError, "no merges"),
        (lambda w: w.add_tokenizer_model("llama"), CheckpointError, "no score"),
        (
            lambda w: (w.add_tokenizer_model("gpt2"), w.add_token_merges(["a zz"])),
            CheckpointError,
            "cannot be used",
        ),
        (
            lambda w: (w.add_tokenizer_model("gpt2"), w.add_token_types([1])),
            CheckpointError,
            "2 tokens and 1 kinds",
        ),
        (lambda w: w.add_bool("tokenizer.ggml.model", True), CheckpointError, "must be a text"),
    ],
)
def test_bad_tokenizers(change: Any, error: type[Exception], words: str, tmp_path: Path) -> None:
    def add(writer: GGUFWriter, backend: None) -> None:
        writer.add_token_list(["a", "b"])
        change(writer)

    path = write_tokenizer(tmp_path / "bad.gguf", add, None)  # type: ignore[arg-type]
    with pytest.raises(error, match=words):
        Tokenizer.load(path)


def test_no_tokenizer(tmp_path: Path) -> None:
    path = write_tokenizer(tmp_path / "none.gguf", lambda writer, _: None, None)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="no tokenizer"):
        Tokenizer.load(path)


@pytest.fixture(scope="module", autouse=True)
def _both(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("gguf")
    _BOTH[:] = [read(folder) for read in READERS.values()]


_BOTH: list[tuple[Any, Tokenizer]] = []
