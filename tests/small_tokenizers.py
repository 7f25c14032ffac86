"""Small tokenizers in the styles of the field, made on the spot; no network, no torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import (
    AddedToken,
    Regex,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from tokenizers import Tokenizer as Backend

from tests.vocabularies import SENTENCEPIECE, TIKTOKEN
from unisono.text import Tokenizer

CONVERTED = {**SENTENCEPIECE, **TIKTOKEN}
CORPUS = [
    "The quick brown fox jumps over the lazy dog. Hello world, hello there!",
    "统一的引擎在每一种硬件上给出相同的答案。你好，世界！今天天气很好。",
    "def add(a, b):\n    return a + b\n\nprint(add(1, 2))",
    "Ça va très bien; naïve café, São Paulo. Привет, мир! こんにちは世界",
    "numbers 12345 67890 and   spaces\t\ttabs",
] * 4
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _byte_level(num_merged: int = 120) -> Backend:
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + num_merged,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    return backend


def qwen() -> tuple[Backend, dict[str, Any]]:
    backend = _byte_level()
    backend.normalizer = normalizers.NFC()
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    backend.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    backend.add_tokens([AddedToken("<tool_call>", normalized=False), "<think>"])
    return backend, {
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "bos_token": None,
        "add_bos_token": False,
    }


def llama3() -> tuple[Backend, dict[str, Any]]:
    backend = _byte_level()
    names = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    backend.add_special_tokens(names)
    begin = backend.token_to_id(names[0])
    backend.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing(
                single=f"{names[0]} $A",
                pair=f"{names[0]} $A {names[0]}:1 $B:1",
                special_tokens=[(names[0], begin)],
            ),
        ]
    )
    return backend, {
        "bos_token": names[0],
        "eos_token": {"__type": "AddedToken", "content": "<|eot_id|>"},
    }


def _byte_fallback(normalizer: Any, steps: list[Any]) -> Backend:
    trained = Backend(models.BPE())
    trained.normalizer = normalizer
    trained.train_from_iterator(
        [line for line in CORPUS if "世界" not in line or "你好" in line],
        trainers.BpeTrainer(vocab_size=200, limit_alphabet=90, show_progress=False),
    )
    model = json.loads(trained.to_str())["model"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += [token for token in model["vocab"] if token not in tokens]
    backend = Backend(
        models.BPE(
            vocab={token: index for index, token in enumerate(tokens)},
            merges=[tuple(merge) for merge in model["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    backend.normalizer = normalizer
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *steps]
    )
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]
    )
    return backend


def llama2() -> tuple[Backend, dict[str, Any]]:
    normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend = _byte_fallback(normalizer, [decoders.Strip(" ", 1, 0)])
    return backend, {
        "bos_token": {"__type": "AddedToken", "content": "<s>", "special": True},
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "add_bos_token": True,
        "add_eos_token": True,
    }


def gemma() -> tuple[Backend, dict[str, Any]]:
    backend = _byte_fallback(normalizers.Replace(" ", "▁"), [])
    return backend, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def metaspace() -> tuple[Backend, dict[str, Any]]:
    backend, config = llama2()
    backend.normalizer = None
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Metaspace(prepend_scheme="first"), decoders.ByteFallback(), decoders.Fuse()]
    )
    return backend, config


def words() -> tuple[Backend, dict[str, Any]]:
    vocab = {word: index for index, word in enumerate(["[UNK]", "hello", "world", "你好", "!"])}
    backend = Backend(models.WordLevel(vocab, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return backend, {"unk_token": "[UNK]"}


def wordpiece() -> tuple[Backend, dict[str, Any]]:
    vocab = ["[UNK]", "hello", "##ing", "world", "!", "do", "n't", "##x", "."]
    backend = Backend(
        models.WordPiece({word: i for i, word in enumerate(vocab)}, unk_token="[UNK]")
    )
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.decoder = decoders.WordPiece(cleanup=True)
    return backend, {"unk_token": "[UNK]"}


STYLES = {
    make.__name__: make for make in (qwen, llama3, llama2, gemma, metaspace, words, wordpiece)
}


def save(folder: Path, backend: Backend, config: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    return folder


class _Made(dict[str, Any]):
    """Made when asked for and kept: a fixture of the session whose parameters another file
    overrides would be kept for the wrong style."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, style: str) -> Any:
        self[style] = self._make(style)
        return self[style]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tokenizers")

    def make(style: str) -> Path:
        if style in STYLES:
            return save(root / style, *STYLES[style]())
        return CONVERTED[style](root / style)

    return _Made(make)


@pytest.fixture(scope="session")
def tokenizers_by_style(folders: dict[str, Path]) -> dict[str, Tokenizer]:
    return _Made(lambda style: Tokenizer.load(folders[style]))


@pytest.fixture(params=[*sorted(STYLES), *sorted(CONVERTED)])
def style(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tokenizer(style: str, tokenizers_by_style: dict[str, Tokenizer]) -> Tokenizer:
    return tokenizers_by_style[style]
