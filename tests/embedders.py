"""Folders of tiny models that embed or rerank, as their publishers lay them out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from tests import checkpoints
from tests.byte_tokenizer import write_byte_tokenizer

_END = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
_ONE = [{"Sequence": {"id": "A", "type_id": 0}}, _END]
QUERY_PROMPT = "Instruct: Find it.\nQuery:"


def write_tokenizer(folder: Path) -> int:
    """Bytes, ``<|endoftext|>`` behind each text, and the words that Qwen3-Reranker answers."""
    write_byte_tokenizer(folder, "")
    path = folder / "tokenizer.json"
    values = json.loads(path.read_text())
    words = ["yes", "no"]
    values["added_tokens"] += [
        {**values["added_tokens"][0], "id": 259 + i, "content": word, "special": False}
        for i, word in enumerate(words)
    ]
    values["post_processor"] = {
        "type": "TemplateProcessing",
        "single": _ONE,
        "pair": [*_ONE, {"Sequence": {"id": "B", "type_id": 0}}, _END],
        "special_tokens": {
            "<|endoftext|>": {"id": "<|endoftext|>", "ids": [256], "tokens": ["<|endoftext|>"]}
        },
    }
    path.write_text(json.dumps(values))
    return 259 + len(words)


def write_embedder(
    folder: Path, *, mode: str = "lasttoken", normalize: bool = True, **config: Any
) -> PreTrainedModel:
    """In the shape of Qwen3-Embedding; returns the oracle, without its head in the folder."""
    vocab_size = write_tokenizer(folder)
    shape = {"tie_word_embeddings": True, "vocab_size": vocab_size, "head_dim": 16, **config}
    model = checkpoints.oracle("qwen3", **shape)
    model.model.save_pretrained(folder)
    edit_json(folder / "config.json", architectures=["Qwen3ForCausalLM"])
    write_layout(folder, mode=mode, normalize=normalize)
    return model


def write_layout(folder: Path, *, mode: str = "lasttoken", normalize: bool = True) -> None:
    """Write what sentence-transformers keeps beside a model; a configuration, if none is there."""
    if not (folder / "config.json").exists():
        config = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}
        (folder / "config.json").write_text(json.dumps(config))
    modules = ["", "1_Pooling", *(["2_Normalize"] if normalize else [])]
    kinds = ["Transformer", "Pooling", "Normalize"]
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(zip(modules, kinds, strict=False))
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    modes = {
        f"pooling_mode_{name}": name == mode for name in ("cls_token", "mean_tokens", "lasttoken")
    }
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 64, **modes, "include_prompt": True})
    )
    prompts = {"prompts": {"query": QUERY_PROMPT, "document": ""}, "default_prompt_name": None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    limits = {"max_seq_length": 256, "do_lower_case": False}
    (folder / "sentence_bert_config.json").write_text(json.dumps(limits))
    (folder / "2_LogitScore").mkdir(exist_ok=True)
    scored = {"true_token_id": 5, "false_token_id": 6}
    (folder / "2_LogitScore" / "config.json").write_text(json.dumps(scored))


def write_reranker(folder: Path, *, num_classes: int = 0, model_type: str = "qwen3") -> Any:
    """In the shape of Qwen3-Reranker, or with a head that classifies; returns the oracle."""
    vocab_size = write_tokenizer(folder)
    shape = {"vocab_size": vocab_size, "max_position_embeddings": 512, "head_dim": 16}
    if not num_classes:
        model: Any = checkpoints.oracle(model_type, tie_word_embeddings=True, **shape)
    else:
        config = checkpoints.configuration(
            model_type, num_labels=num_classes, **{**shape, "pad_token_id": 0}
        )
        torch.manual_seed(0)
        auto: Any = AutoModelForSequenceClassification
        model = auto.from_config(config, dtype=torch.float32).eval()
    model.save_pretrained(folder)
    return model


def edit_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
