"""Reads what a model is for from its folder: the layout of sentence-transformers, the name of its
architecture, or the header of a GGUF file.

Of that layout are read: ``modules.json``, the configuration of a pooling module, prompts
(``config_sentence_transformers.json``) and the length of a text (``sentence_bert_config.json``).
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from unisono.core.errors import CheckpointError, UnsupportedModelError
from unisono.core.folder_files import parse_json, read_json_object, read_text
from unisono.core.model_role import ModelRole
from unisono.core.pooling import Pooling, PoolingKind
from unisono.gguf.files import GgufFile, is_gguf

_MAX_BYTES = 1 << 20
_CLASSIFIES = "ForSequenceClassification"
_MODES: dict[str, PoolingKind] = {"lasttoken": "last", "mean": "mean", "mean_tokens": "mean"}
"""Names of sentence-transformers, behind ``pooling_mode_`` in its older files."""
_GGUF_POOLING: dict[float, PoolingKind] = {1: "mean", 3: "last"}
"""llama.cpp's ``enum llama_pooling_type``."""
_ONLY = "Pooled are the last token or the mean of all, of decoders that look back alone."


def read_role(model: Path, task: str = "auto") -> ModelRole:
    """Reads the role of a model's folder or GGUF file.

    Args:
        task: of ``EngineConfig``: what the operator says that the model is for.

    Raises:
        CheckpointError: a file of the layout cannot be read.
        UnsupportedModelError: the model does its task in a way that is not known here.
    """
    if task == "generate":
        return ModelRole()
    if is_gguf(model):
        return _of_gguf(model, task)
    config = read_json_object(model / "config.json", 16 * _MAX_BYTES)
    modules = _modules(model)
    if task == "auto":
        task = _found(config, modules)
    if task == "embed":
        return _embedder(model, config, modules)
    return _reranker(model, config, modules) if task == "rerank" else ModelRole()


def _found(config: dict[str, Any], modules: dict[str, str]) -> str:
    if "LogitScore" in modules or _is_a(config, _CLASSIFIES):
        return "rerank"
    return "embed" if modules or _is_a(config, "Model") else "generate"


def _is_a(config: dict[str, Any], ending: str) -> bool:
    """True where the name of an architecture ends so."""
    names = config.get("architectures")
    return isinstance(names, list) and any(str(name).endswith(ending) for name in names)


def _of_gguf(model: Path, task: str) -> ModelRole:
    metadata = GgufFile.read(model).metadata
    kind = metadata.number(f"{metadata.required_text('general.architecture')}.pooling_type")
    if task == "rerank":
        return ModelRole(task="rerank")
    if kind in (None, 0):
        return ModelRole(task="embed" if task == "embed" else "generate")
    if kind not in _GGUF_POOLING:
        raise UnsupportedModelError(f"{metadata.source} pools as {kind}.", hint=_ONLY)
    return ModelRole(task="embed", pooling=Pooling(kind=_GGUF_POOLING[kind], normalize=True))


# -- the layout of sentence-transformers ---------------------------------------------------------


def _modules(folder: Path) -> dict[str, str]:
    """Folders of the modules by the names of their classes, in order; empty without a layout."""
    text = read_text(folder / "modules.json", _MAX_BYTES)
    if text is None:
        return {}
    try:
        return {
            str(entry["type"]).rpartition(".")[2]: str(entry.get("path") or "")
            for entry in parse_json(text)
        }
    except (ValueError, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise CheckpointError(
            "modules.json is no list of modules with a type and a path.",
            hint="Fetch the model again.",
        ) from error


def _module_config(folder: Path, path: str) -> dict[str, Any]:
    """The configuration of a module, which is in a folder right below the model's."""
    if not path or "/" in path or "\0" in path or path.startswith("."):
        raise CheckpointError("modules.json has a module in no folder of its own.")
    return read_json_object(folder / path / "config.json", _MAX_BYTES)


def _embedder(folder: Path, config: dict[str, Any], modules: dict[str, str]) -> ModelRole:
    if config.get("is_causal") is False or config.get("use_bidirectional_attention"):
        raise UnsupportedModelError(
            "The tokens of this model see those behind them, too (config.json says so).", hint=_ONLY
        )
    role = replace(_with_texts(folder), task="embed")
    if not modules:
        return role
    others = modules.keys() - {"Transformer", "Pooling", "Normalize"}
    if others or "Pooling" not in modules:
        what = f"has a module {min(others)}" if others else "does not pool"
        raise UnsupportedModelError(f"By its modules.json the model {what}.", hint=_ONLY)
    kind = _pooling_kind(folder, modules["Pooling"])
    return replace(role, pooling=Pooling(kind=kind, normalize="Normalize" in modules))


def _pooling_kind(folder: Path, path: str) -> PoolingKind:
    values = _module_config(folder, path)
    name = f"{path}/config.json"
    given = values.get("pooling_mode")
    prefix = "pooling_mode_"
    modes = [key.removeprefix(prefix) for key, on in values.items() if key[:13] == prefix and on]
    if given is not None:
        modes = given if isinstance(given, list) else [given]
    kinds = [_MODES.get(str(mode)) for mode in modes]
    if len(kinds) != 1 or kinds[0] is None:
        how = ", ".join(map(str, modes)) or "nothing"
        raise UnsupportedModelError(f"{name} pools {how:.80}.", hint=_ONLY)
    if values.get("include_prompt") is False:
        raise UnsupportedModelError(f"{name} leaves the prompt out of what is pooled.")
    return kinds[0]


def _with_texts(folder: Path) -> ModelRole:
    """Prompts, and the length of a text."""
    values = read_json_object(folder / "config_sentence_transformers.json", _MAX_BYTES)
    prompts, default = values.get("prompts") or {}, values.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(isinstance(p, str) for p in prompts.values()):
        raise CheckpointError("config_sentence_transformers.json: prompts are no texts by name.")
    if default is not None and (not isinstance(default, str) or default not in prompts):
        raise CheckpointError("config_sentence_transformers.json has no prompt of the default.")
    values = read_json_object(folder / "sentence_bert_config.json", _MAX_BYTES)
    length = values.get("max_seq_length")
    if length is not None and (type(length) is not int or length < 1):
        raise CheckpointError(f"sentence_bert_config.json: max_seq_length is {length!r:.40}.")
    if values.get("do_lower_case"):
        raise UnsupportedModelError("sentence_bert_config.json lowers the case of texts.")
    return ModelRole(prompts=prompts, default_prompt=default, max_tokens=length)


# -- rerankers -----------------------------------------------------------------------------------


def _reranker(folder: Path, config: dict[str, Any], modules: dict[str, str]) -> ModelRole:
    role = ModelRole(task="rerank", max_tokens=_with_texts(folder).max_tokens)
    if _is_a(config, _CLASSIFIES):
        labels = config.get("id2label")
        count = len(labels) if isinstance(labels, dict) else config.get("num_labels", 2)
        if count != 1:
            raise UnsupportedModelError(
                f"The model has {count!r:.20} classes; a reranker has one, whose number is the"
                " score."
            )
        form: Any = "qwen3" if config.get("model_type") == "qwen3" else "plain"
        return replace(role, has_classes=True, is_logistic=_is_logistic(config), pair_form=form)
    if "LogitScore" not in modules:
        return role
    values = _module_config(folder, modules["LogitScore"])
    yes, no = values.get("true_token_id"), values.get("false_token_id")
    if type(yes) is not int or type(no) is not int or config.get("model_type") != "qwen3":
        raise UnsupportedModelError(
            "By its modules.json the model scores a prompt of its own that is not known here.",
            hint="Known is the form of Qwen3-Reranker, which answers yes or no.",
        )
    return replace(role, scored_token_ids=(yes, no))


def _is_logistic(config: dict[str, Any]) -> bool:
    """The activation that sentence-transformers keeps in config.json; a sigmoid by default."""
    said = config.get("sentence_transformers")
    name = said.get("activation_fn") if isinstance(said, dict) else None
    name = name or config.get("sbert_ce_default_activation_function") or "Sigmoid"
    kind = str(name).rpartition(".")[2]
    if kind not in ("Sigmoid", "Identity"):
        raise UnsupportedModelError(f"config.json scores by {kind:.40}; known is a sigmoid.")
    return kind == "Sigmoid"
