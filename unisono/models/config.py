"""What a decoder is, read from a checkpoint's ``config.json`` and checked once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unisono.core.errors import CheckpointError, UnsupportedModelError

__all__ = ["ModelConfig", "RawConfig", "RopeConfig", "read_json"]

_MAX_JSON_BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class RopeConfig:
    """Rotary embedding: ``kind`` with its own ``scaling`` numbers, as the checkpoint names them."""

    kind: str = "default"
    theta: float = 10_000.0
    rotary_dim: int
    max_position: int
    scaling: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """A dense decoder-only transformer. ``windows`` has one entry a layer; None sees everything."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    rms_norm_eps: float
    rope: RopeConfig
    max_position: int
    tie_embeddings: bool
    windows: tuple[int | None, ...]
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False


class RawConfig:
    """``config.json`` as it is, with typed look-ups whose errors name file and field."""

    def __init__(self, values: dict[str, Any], source: str = "config.json") -> None:
        self.values = values
        self.source = source

    @classmethod
    def load(cls, folder: Path) -> RawConfig:
        """Raises CheckpointError where the file is missing or is not a JSON object."""
        path = folder / "config.json"
        if not path.is_file():
            raise CheckpointError(
                f"{folder} has no config.json.",
                hint="A model folder holds config.json, *.safetensors and tokenizer.json.",
            )
        return cls(read_json(path))

    def get(self, name: str, default: Any = None) -> Any:
        value = self.values.get(name)
        return default if value is None else value

    def integer(self, name: str, default: int | None = None) -> int:
        """A positive integer."""
        value = self.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise CheckpointError(
                f"{self.source}: {name} must be a positive integer, is {value!r}."
            )
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A positive number."""
        value = self.get(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise CheckpointError(f"{self.source}: {name} must be a positive number, is {value!r}.")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        value = self.get(name, default)
        if not isinstance(value, bool):
            raise CheckpointError(f"{self.source}: {name} must be true or false, is {value!r}.")
        return value

    def dense_decoder(self, **family: Any) -> ModelConfig:
        """The fields all dense families share; ``family`` adds or overrides.

        Raises:
            CheckpointError: a field is missing or of the wrong kind.
            UnsupportedModelError: an activation that is not SiLU.
        """
        if self.get("hidden_act", "silu") not in ("silu", "swish"):
            raise UnsupportedModelError(f"Activation {self.get('hidden_act')!r} is not supported.")
        num_heads = self.integer("num_attention_heads")
        num_kv_heads = self.integer("num_key_value_heads", num_heads)
        if num_heads % num_kv_heads:
            raise CheckpointError(
                f"{self.source}: {num_heads} heads do not divide by {num_kv_heads} key-value heads."
            )
        hidden_size, num_layers = self.integer("hidden_size"), self.integer("num_hidden_layers")
        head_dim = self.integer("head_dim", max(1, hidden_size // num_heads))
        fields: dict[str, Any] = {
            "vocab_size": self.integer("vocab_size"),
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "num_heads": num_heads,
            "num_kv_heads": num_kv_heads,
            "head_dim": head_dim,
            "intermediate_size": self.integer("intermediate_size"),
            "rms_norm_eps": self.number("rms_norm_eps", 1e-6),
            "rope": self.rope(head_dim),
            "max_position": self.integer("max_position_embeddings", 2048),
            "tie_embeddings": self.flag("tie_word_embeddings", False),
            "windows": (None,) * num_layers,
        }
        return ModelConfig(**{**fields, **family})

    def rope(self, head_dim: int) -> RopeConfig:
        """From ``rope_parameters`` (newer files) or ``rope_theta`` and ``rope_scaling``."""
        scaling = dict(self.get("rope_parameters") or self.get("rope_scaling") or {})
        theta = float(scaling.pop("rope_theta", None) or self.number("rope_theta", 10_000.0))
        kind = scaling.pop("rope_type", None) or scaling.pop("type", None) or "default"
        scaling.pop("type", None)
        partial = scaling.pop("partial_rotary_factor", None) or self.number(
            "partial_rotary_factor", 1.0
        )
        return RopeConfig(
            kind=kind,
            theta=theta,
            rotary_dim=int(head_dim * partial),
            max_position=self.integer("max_position_embeddings", 2048),
            scaling=scaling,
        )

    def switched_windows(self) -> tuple[int | None, ...]:
        """``windows`` where ``use_sliding_window`` is on (Qwen: layers from max_window_layers)."""
        if self.flag("use_sliding_window", False):
            return self.windows(self.get("max_window_layers", 28))
        return (None,) * self.integer("num_hidden_layers")

    def windows(self, default_from: int = 0) -> tuple[int | None, ...]:
        """One window a layer: from ``layer_types``, or else from layer ``default_from`` on."""
        num_layers = self.integer("num_hidden_layers")
        if self.get("sliding_window") is None:
            return (None,) * num_layers
        window = self.integer("sliding_window")
        kinds = self.get("layer_types")
        if kinds is None:
            return tuple(window if i >= default_from else None for i in range(num_layers))
        if len(kinds) != num_layers or not set(kinds) <= {"full_attention", "sliding_attention"}:
            raise UnsupportedModelError(
                f"{self.source}: layer_types must name full_attention or sliding_attention "
                f"for each of {num_layers} layers."
            )
        return tuple(window if kind == "sliding_attention" else None for kind in kinds)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of bounded size.

    Raises:
        CheckpointError: unreadable, too large, or not a JSON object.
    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise CheckpointError(f"{path.name} is larger than {_MAX_JSON_BYTES} bytes.")
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read as JSON ({error}).", hint="Download the file again."
        ) from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} does not hold a JSON object.")
    return values
