"""Small vocabularies in the forms of older checkpoints: SentencePiece and tiktoken files."""

from __future__ import annotations

import base64
import importlib
import io
import json
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from unisono.text.vocabulary.byte_pairs import BYTE_OF_LETTER

CORPUS = [
    "The quick brown fox jumps over the lazy dog. Hello world, hello there!",
    "统一的引擎在每一种硬件上给出相同的答案。你好，世界！今天天气很好。",
    "def add(a, b):\n    return a + b\n\nprint(add(1, 2))  # <tag> & [list] {x: y} <0x",
    "Ça va très bien; naïve café, São Paulo. Привет, мир! こんにちは世界",
    "numbers 12345 67890 and   spaces\t\ttabs ==== ------ !!!! aaaa",
    "words that make it larger: tokenizer, sentence, piece, language, model, don't, I'm",
] * 4
LLAMA = {
    "model_type": "bpe",
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "split_digits": True,
    "allow_whitespace_only_pieces": True,
}
GEMMA = {
    **LLAMA,
    "add_dummy_prefix": False,
    "user_defined_symbols": ["<start_of_turn>", "▁▁", "▁▁▁", "\n\n", "<unused0>"],
}
UNIGRAM = {"model_type": "unigram"}


def sentencepiece_model(**options: Any) -> bytes:
    """A model trained on the corpus."""
    return _train(json.dumps(options))


@cache
def _train(options: str) -> bytes:
    trainer = importlib.import_module("sentencepiece").SentencePieceTrainer
    content = io.BytesIO()
    trainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=content,
        **{
            "vocab_size": 560,
            "byte_fallback": True,
            "character_coverage": 0.98,
            "hard_vocab_limit": False,
            "num_threads": 1,
            "minloglevel": 2,
            **json.loads(options),
        },
    )
    return content.getvalue()


@cache
def ranks() -> dict[bytes, int]:
    """Tokens of byte-level BPE, trained on the corpus."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    return {
        bytes(BYTE_OF_LETTER[letter] for letter in token): index
        for token, index in backend.get_vocab().items()
    }


def tiktoken_file(of: dict[bytes, int]) -> bytes:
    ordered = sorted(of.items(), key=lambda entry: entry[1])
    return b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in ordered)


def write_folder(
    folder: Path, name: str, content: bytes, config: dict[str, Any], model_type: str = "llama"
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}), "utf-8")
    return folder


def spm_llama(folder: Path) -> Path:
    config = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "legacy": False}
    return write_folder(folder, "tokenizer.model", sentencepiece_model(**LLAMA), config)


def spm_legacy(folder: Path) -> Path:
    config = {
        "tokenizer_class": "InternLM2Tokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_internlm2.InternLM2Tokenizer", None]},
        "added_tokens_decoder": {
            "0": {"content": "<unk>", "special": True},
            "3": {"content": "<|im_start|>", "special": True},
            "4": {"content": "<|plugin|>", "special": False},
        },
    }
    symbols = ["[UNUSED_TOKEN_1]", "[UNUSED_TOKEN_2]"]
    content = sentencepiece_model(**LLAMA, user_defined_symbols=symbols)
    return write_folder(folder, "tokenizer.model", content, config, "internlm2")


def spm_gemma(folder: Path) -> Path:
    config = {"tokenizer_class": "GemmaTokenizer", "add_bos_token": True}
    return write_folder(folder, "tokenizer.model", sentencepiece_model(**GEMMA), config, "gemma")


def spm_unigram(folder: Path) -> Path:
    config = {"tokenizer_class": "T5Tokenizer", "add_eos_token": True}
    return write_folder(folder, "tokenizer.model", sentencepiece_model(**UNIGRAM), config, "t5")


def kimi(folder: Path) -> Path:
    size = len(ranks())
    config = {
        "tokenizer_class": "TikTokenTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_kimi.TikTokenTokenizer", None]},
        "bos_token": "[BOS]",
        "eos_token": "[EOS]",
        "added_tokens_decoder": {
            str(size): {"content": "[BOS]", "special": True},
            str(size + 1): {"content": "[EOS]", "special": True},
            str(size + 3): {"content": "<|im_end|>", "special": True},
            str(size + 6): {"content": "<|tool_call_begin|>", "special": False},
        },
    }
    return write_folder(folder, "tiktoken.model", tiktoken_file(ranks()), config, "kimi_k2")


def qwen_1(folder: Path) -> Path:
    config = {"tokenizer_class": "QWenTokenizer"}
    return write_folder(folder, "qwen.tiktoken", tiktoken_file(ranks()), config, "qwen")


def llama_3(folder: Path) -> Path:
    return write_folder(folder, "tokenizer.model", tiktoken_file(ranks()), {}, "llama")


def glm_4(folder: Path) -> Path:
    size = len(ranks())
    texts = ["<|endoftext|>", "[gMASK]", "<sop>", "<|user|>", "<|observation|>"]
    config = {
        "tokenizer_class": "ChatGLM4Tokenizer",
        "eos_token": "<|endoftext|>",
        "added_tokens_decoder": {
            str(size + index): {"content": text, "special": True}
            for index, text in enumerate(texts)
        },
    }
    return write_folder(folder, "tokenizer.model", tiktoken_file(ranks()), config, "chatglm")


TEKKEN_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def tekken_file(**changes: Any) -> dict[str, Any]:
    """With room for 12 special tokens, seven of them named, and with padding behind the ranks."""
    texts = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "<pad>"]
    ordered = sorted(ranks(), key=lambda token: ranks()[token])
    padded = [*ordered, b"never used 1", b"never used 2"]
    return {
        "config": {
            "pattern": TEKKEN_PATTERN,
            "num_vocab_tokens": len(padded),
            "default_vocab_size": len(ordered) + 12,
            "default_num_special_tokens": 12,
            "version": "v7",
        },
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
            for rank, token in enumerate(padded)
        ],
        "special_tokens": [
            {"rank": rank, "token_str": text, "is_control": True} for rank, text in enumerate(texts)
        ],
        **changes,
    }


def tekken(folder: Path) -> Path:
    return write_folder(folder, "tekken.json", json.dumps(tekken_file()).encode(), {}, "mistral")


SENTENCEPIECE = {make.__name__: make for make in (spm_llama, spm_legacy, spm_gemma, spm_unigram)}
TIKTOKEN = {make.__name__: make for make in (kimi, qwen_1, llama_3, glm_4, tekken)}
