"""PEFT's ``adapter_config.json``, as far as it is understood; the rest is refused by name."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unisono.core.errors import AdapterError, CheckpointError
from unisono.core.folder_files import read_json_object
from unisono.models.adapters.targets import Targets, compiled

CONFIG_FILE = "adapter_config.json"
_MAX_CONFIG_BYTES = 4 << 20
_MERGE = "Merge it once with peft, merge_and_unload() and save_pretrained(FOLDER), and name FOLDER."
_READ = frozenset(
    {
        *("peft_type", "task_type", "r", "lora_alpha", "use_rslora", "bias", "init_lora_weights"),
        *("rank_pattern", "alpha_pattern", "target_modules", "exclude_modules"),
        *("layers_to_transform", "layers_pattern"),
    }
)
_IDLE = frozenset(
    {
        *("auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "peft_version"),
        *("lora_dropout", "megatron_core", "qalora_group_size", "runtime_config", "eva_config"),
        # Of a weight that is stored the other way round; A and B are stored as ever.
        "fan_in_fan_out",
    }
)
"""Fields that change nothing of what a loaded adapter computes."""
_FEATURES = {
    "use_dora": "DoRA, which scales columns of the sum,",
    "modules_to_save": "an adapter with whole modules (modules_to_save)",
    "target_parameters": "an adapter of stacked experts (target_parameters)",
    "trainable_token_indices": "an adapter with tokens of its own (trainable_token_indices)",
    "lora_bias": "an adapter with biases (lora_bias)",
    "use_qalora": "QALoRA, which pools inputs,",
    "alora_invocation_tokens": "an adapter that a token switches on (aLoRA)",
    "layer_replication": "an adapter of a model with repeated layers (layer_replication)",
}
_KEPT_BASE = (True, False, "gaussian", "eva", "orthogonal", "true", "false")
"""Ways to begin training that leave the model's own weights as they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterConfig:
    """The part of the file that decides what an adapter computes."""

    rank: int
    alpha: float
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    rank_stabilized: bool
    """True divides alpha by the root of the rank (Kalajdzievski, 2023), not by the rank."""
    targets: Targets
    base: str
    """Name of the model that it was trained for; may be empty."""

    @classmethod
    def read(cls, folder: Path) -> AdapterConfig:
        """Raises AdapterError: no such file, or what is in it is wrong or not understood."""
        try:
            raw = read_json_object(folder / CONFIG_FILE, _MAX_CONFIG_BYTES)
        except CheckpointError as error:
            raise AdapterError(error.message, hint=error.hint) from error
        if not raw:
            raise AdapterError(
                f"{folder} has no {CONFIG_FILE}.",
                hint="An adapter is a folder as peft's save_pretrained writes it.",
            )
        _check_kind(raw)
        return cls(
            rank=_rank(raw.get("r", 8), "r"),
            alpha=_number(raw.get("lora_alpha", 8), "lora_alpha"),
            rank_pattern={k: _rank(v, f"rank_pattern[{k}]") for k, v in _pattern(raw, "rank")},
            alpha_pattern={k: _number(v, f"alpha_pattern[{k}]") for k, v in _pattern(raw, "alpha")},
            rank_stabilized=_flag(raw, "use_rslora"),
            targets=Targets.read(raw),
            base=str(raw.get("base_model_name_or_path") or "")[:200],
        )

    def rank_of(self, module: str) -> int:
        return int(_matching(self.rank_pattern, module, self.rank))

    def scale_of(self, module: str) -> float:
        """The factor of what the adapter adds to a module."""
        alpha, rank = _matching(self.alpha_pattern, module, self.alpha), self.rank_of(module)
        return alpha / (math.sqrt(rank) if self.rank_stabilized else rank)


def _matching(pattern: Mapping[str, float], module: str, default: float) -> float:
    """The value of the first key that a module's name ends in, as a regular expression."""
    for key, value in pattern.items():
        if re.match(rf"(.*\.)?({key})$", module):
            return value
    return default


def _check_kind(raw: dict[str, Any]) -> None:
    """Raises AdapterError: the file asks for something that is not done here."""
    if (kind := raw.get("peft_type")) != "LORA":
        raise AdapterError(f"Adapters of type {kind!r:.40} are not read.", hint="LORA is.")
    if (task := raw.get("task_type")) not in (None, "CAUSAL_LM", "FEATURE_EXTRACTION"):
        raise AdapterError(
            f"The adapter is for the task {task!r:.40}.",
            hint="It must generate text (CAUSAL_LM) or embed (FEATURE_EXTRACTION).",
        )
    if (bias := raw.get("bias", "none")) != "none":
        raise AdapterError(f"bias {bias!r:.40}: trained biases are not supported.", hint=_MERGE)
    for name, feature in _FEATURES.items():
        if raw.get(name):
            raise AdapterError(f"{name}: {feature} is not supported.", hint=_MERGE)
    if (start := raw.get("init_lora_weights", True)) not in _KEPT_BASE:
        raise AdapterError(
            f"init_lora_weights {start!r:.40}: training changed the model's own weights, too.",
            hint="Save it again with path_initial_model_for_weight_conversion of save_pretrained.",
        )
    for name in sorted(raw.keys() - _READ - _IDLE - _FEATURES.keys()):
        if raw[name]:
            raise AdapterError(
                f"{CONFIG_FILE} has {name:.60} = {raw[name]!r:.60}, which is not understood.",
                hint=_MERGE,
            )


def _pattern(raw: dict[str, Any], kind: str) -> list[tuple[str, Any]]:
    name = f"{kind}_pattern"
    pattern = raw.get(name) or {}
    if not isinstance(pattern, dict):
        raise AdapterError(f"{name} must be an object.")
    for key in pattern:
        compiled(key, name)
    return list(pattern.items())


def _rank(value: Any, name: str) -> int:
    if type(value) is not int or value < 1:
        raise AdapterError(f"{name} must be a whole number above 0, not {value!r:.40}.")
    return value


def _number(value: Any, name: str) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise AdapterError(f"{name} must be a number, not {value!r:.40}.")
    return float(value)


def _flag(raw: dict[str, Any], name: str) -> bool:
    value = raw.get(name) or False
    if not isinstance(value, bool):
        raise AdapterError(f"{name} must be true or false, not {value!r:.40}.")
    return value
