"""``config.json`` as it is, with typed look-ups whose errors name file and field."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from unisono.core.errors import CheckpointError, LayerListError, UnsupportedModelError
from unisono.core.folder_files import read_json_object
from unisono.models.config import ModelConfig, RopeConfig

_MAX_CONFIG_BYTES = 16 << 20
_MAX_INTEGER = 2**31
_MAX_LAYERS = 2**12
_MAX_WIDTH = 2**18
T = TypeVar("T")
_ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu2",
}
"""Activations: name in checkpoints -> name of the op."""


class RawConfig:
    """``config.json`` as it is, with typed look-ups whose errors name file and field."""

    def __init__(self, values: dict[str, Any], source: str = "config.json") -> None:
        self.values = values
        self.source = source

    @classmethod
    def load(cls, folder: Path) -> RawConfig:
        """Raises CheckpointError where the file is missing or is not a JSON object."""
        path = folder / "config.json"
        if not os.path.lexists(path):
            raise CheckpointError(
                f"{folder} has no config.json.",
                hint="A model folder holds config.json, *.safetensors and tokenizer.json.",
            )
        return cls(read_json_object(path, _MAX_CONFIG_BYTES))

    def with_defaults(self, **defaults: Any) -> RawConfig:
        """The same, with the family's values where the file says nothing."""
        given = {name: value for name, value in self.values.items() if value is not None}
        return RawConfig({**defaults, **given}, self.source)

    def with_values(self, **values: Any) -> RawConfig:
        """The same, with other values."""
        return RawConfig({**self.values, **values}, self.source)

    def require(self, **only: Any) -> None:
        """Options that may say one thing alone, or nothing.

        Raises:
            UnsupportedModelError: one says something else.
        """
        for name, value in only.items():
            if self.get(name, value) != value:
                raise UnsupportedModelError(
                    f"{self.source}: {name} {self.get(name)!r:.80} is not supported.",
                    hint=f"Supported: {value!r}.",
                )

    def _is_no(self, wanted: str, name: str, value: Any) -> str:
        return f"{self.source}: {name} must be {wanted}, is {value!r:.80}."

    def get(self, name: str, default: Any = None) -> Any:
        value = self.values.get(name)
        return default if value is None else value

    def integer(
        self, name: str, default: int | None = None, *, least: int = 1, most: int = _MAX_INTEGER
    ) -> int:
        """An integer, positive if nothing else is said."""
        value = self.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            kind = "a positive integer" if least == 1 else f"an integer of at least {least}"
            raise CheckpointError(self._is_no(f"{kind}, at most {most}", name, value))
        return value

    @property
    def num_layers(self) -> int:
        return self.integer("num_hidden_layers", most=_MAX_LAYERS)

    def number(self, name: str, default: float | None = None) -> float:
        """A positive number."""
        value = self.get(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e30:
            raise CheckpointError(self._is_no("a positive number", name, value))
        return float(value)

    def optional_number(self, name: str) -> float | None:
        """A positive number, or None where there is none."""
        return None if self.get(name) is None else self.number(name)

    def flag(self, name: str, default: bool) -> bool:
        value = self.get(name, default)
        if not isinstance(value, bool):
            raise CheckpointError(self._is_no("true or false", name, value))
        return value

    def mapping(self, name: str) -> dict[str, Any]:
        """A JSON object, empty where there is none."""
        value = self.get(name, {})
        if not isinstance(value, dict):
            raise CheckpointError(self._is_no("an object", name, value))
        return value

    def list_of(self, name: str, kind: type[T]) -> list[T]:
        """A list, empty where there is none."""
        value = self.get(name, [])
        if not isinstance(value, list) or not all(isinstance(entry, kind) for entry in value):
            raise CheckpointError(self._is_no(f"a list of {kind.__name__}", name, value))
        return value

    def per_layer(self, name: str, *kinds: T) -> list[T]:
        """One of ``kinds`` for each layer; empty where there is no such list.

        Raises:
            LayerListError: another kind, or not one for each layer.
        """
        value, num_layers = self.get(name, []), self.num_layers
        if value == []:
            return []
        fits = isinstance(value, list) and len(value) == num_layers
        if not fits or not all(entry in kinds for entry in value):
            words = " or ".join(map(str, kinds))
            wanted = f"a list that says {words} for each of {num_layers} layers"
            raise LayerListError(self._is_no(wanted, name, value))
        return value

    def layer_numbers(self, name: str) -> frozenset[int] | None:
        """Layers that a list names; None where there is no list.

        Raises:
            LayerListError: no list of numbers.
        """
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(entry, int) for entry in value):
            raise LayerListError(self._is_no("a list of numbers of layers", name, value))
        return frozenset(value)

    def text(self) -> RawConfig:
        """The configuration of the language model, also of a multimodal checkpoint."""
        own = self.mapping("text_config")
        if not own:
            return self
        shared = {k: self.values[k] for k in ("tie_word_embeddings",) if self.get(k) is not None}
        return RawConfig({**own, **shared}, f"{self.source}: text_config")

    def biases(
        self, attention: str = "attention_bias", mlp: str = "mlp_bias", *, default: bool = False
    ) -> dict[str, Any]:
        """The fields of ``ModelConfig`` that say which projections have a bias."""
        return {
            **self.attention_biases(attention, default=default),
            "mlp_bias": self.flag(mlp, default),
        }

    def attention_biases(
        self, name: str = "attention_bias", *, default: bool = False
    ) -> dict[str, Any]:
        """The fields of ``ModelConfig`` that say whether attention's projections have a bias: all
        of them, or none."""
        bias = self.flag(name, default)
        return {"qkv_bias": bias, "output_bias": bias}

    def dense_decoder(
        self,
        *,
        interleaved: bool = False,
        rotating: Sequence[bool] | None = None,
        **family: Any,
    ) -> ModelConfig:
        """The fields all dense families share; ``family`` adds or overrides.

        Args:
            interleaved: pairs that rotate are neighbouring dimensions.
            rotating: True for each layer that rotates; None: all do.

        Raises:
            CheckpointError: a field is missing or of the wrong kind.
            UnsupportedModelError: an activation that is not known.
        """
        num_heads = self.integer("num_attention_heads", most=_MAX_WIDTH)
        num_kv_heads = self.integer("num_key_value_heads", num_heads)
        if num_heads % num_kv_heads:
            raise CheckpointError(
                f"{self.source}: {num_heads} heads do not divide by {num_kv_heads} key-value heads."
            )
        hidden_size = self.integer("hidden_size", most=_MAX_WIDTH)
        num_layers = self.num_layers
        head_dim = self.integer("head_dim", max(1, hidden_size // num_heads), most=_MAX_WIDTH)
        rope = replace(self.rope(head_dim), interleaved=interleaved)
        ropes = None if rotating is None else tuple(rope if turns else None for turns in rotating)
        fields: dict[str, Any] = {
            "vocab_size": self.integer("vocab_size"),
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "num_heads": num_heads,
            "num_kv_heads": num_kv_heads,
            "head_dim": head_dim,
            "intermediate_size": self.integer("intermediate_size", most=_MAX_WIDTH * 16),
            "rms_norm_eps": self.number("rms_norm_eps", 1e-6),
            "rope": rope,
            "layer_ropes": ropes,
            "max_position": _longest(rope),
            "tie_embeddings": self.flag("tie_word_embeddings", False),
            "windows": (None,) * num_layers,
            "activation": self.activation("hidden_act", "silu"),
        }
        return ModelConfig(**{**fields, **family})

    def activation(self, name: str, default: str) -> str:
        """An activation of the op table.

        Raises:
            UnsupportedModelError: not known.
        """
        value = self.get(name, default)
        if not isinstance(value, str) or value not in _ACTIVATIONS:
            raise UnsupportedModelError(
                f"{self.source}: {name} {value!r:.80} is not supported.",
                hint=f"Known: {', '.join(_ACTIVATIONS)}.",
            )
        return _ACTIVATIONS[value]

    def rope(self, head_dim: int, layer_type: str | None = None) -> RopeConfig:
        """From ``rope_parameters`` (newer files) or ``rope_theta`` and ``rope_scaling``.

        Args:
            layer_type: whose rotation it is, where the file has one for each type of layer.

        Raises:
            CheckpointError: not a JSON object, or not an even number of dimensions to rotate.
        """
        scaling = dict(self.mapping("rope_parameters") or self.mapping("rope_scaling"))
        own = RawConfig(scaling, f"{self.source}: rope")
        if layer_type in scaling:
            scaling = dict(own.mapping(layer_type))
            own = RawConfig(scaling, f"{own.source} of {layer_type}")
        theta = own.number("rope_theta", self.number("rope_theta", 10_000.0))
        if theta <= 1.0:
            raise CheckpointError(f"{self.source}: rope_theta must be above 1, is {theta}.")
        kind = own.get("rope_type") or own.get("type") or "default"
        share = own.number("partial_rotary_factor", self.number("partial_rotary_factor", 1.0))
        pretrained = self.get("original_max_position_embeddings")
        if kind in ("llama3", "yarn", "longrope") and pretrained is not None:
            scaling["original_max_position_embeddings"] = pretrained
        if kind == "proportional":
            scaling["rotated_share"], share = share, 1.0
        rotary_dim = int(head_dim * share)
        if rotary_dim % 2 or not 0 < rotary_dim <= head_dim:
            raise CheckpointError(
                f"{self.source}: rope rotates an even number of the {head_dim} dimensions of a "
                f"head, not {rotary_dim}."
            )
        for name in ("rope_theta", "partial_rotary_factor", "rope_type", "type"):
            scaling.pop(name, None)
        return RopeConfig(
            kind=str(kind)[:80],
            theta=theta,
            rotary_dim=rotary_dim,
            max_position=self.integer("max_position_embeddings", 2048),
            scaling=scaling,
        )

    def local_rope(self, head_dim: int, theta: float) -> RopeConfig:
        """Rotation of layers with a window: their own, or in older files plain by ``theta``."""
        if "sliding_attention" in self.mapping("rope_parameters"):
            return self.rope(head_dim, "sliding_attention")
        plain = self.with_values(rope_theta=theta, rope_parameters=None, rope_scaling=None)
        return plain.rope(head_dim)

    def rotating_layers(self) -> list[bool]:
        """True for each layer that rotates: ``no_rope_layers`` has 1 for these; without it, all but
        each ``no_rope_layer_interval``-th."""
        flags = self.per_layer("no_rope_layers", 0, 1)
        if flags:
            return [bool(flag) for flag in flags]
        interval = self.integer("no_rope_layer_interval", 4)
        return [bool((i + 1) % interval) for i in range(self.num_layers)]

    def windows_that_rotate(self, whole_every: int) -> dict[str, Any]:
        """``windows`` and ``rotating`` for ``dense_decoder``, where only layers with a window
        rotate."""
        windows = self.windows(whole_every=whole_every)
        return {"windows": windows, "rotating": [window is not None for window in windows]}

    def switched_windows(self) -> tuple[int | None, ...]:
        """``windows`` where ``use_sliding_window`` is on (Qwen: layers from max_window_layers)."""
        if self.flag("use_sliding_window", False):
            return self.windows(self.integer("max_window_layers", 28, least=0))
        return (None,) * self.num_layers

    def windows(
        self, default_from: int = 0, *, whole_every: int | None = None
    ) -> tuple[int | None, ...]:
        """One window a layer: from ``layer_types``, or else from layer ``default_from`` on, but for
        each ``whole_every``-th, which sees everything."""
        num_layers = self.num_layers
        if self.get("sliding_window") is None:
            return (None,) * num_layers
        window = self.integer("sliding_window")
        kinds = self.per_layer("layer_types", "full_attention", "sliding_attention")
        windowed = [kind == "sliding_attention" for kind in kinds] or [
            i >= default_from and (whole_every is None or (i + 1) % whole_every != 0)
            for i in range(num_layers)
        ]
        return tuple(window if has_one else None for has_one in windowed)


def _longest(rope: RopeConfig) -> int:
    """Positions that a model may use: a rotation that grows with the text reaches beyond the
    trained ones."""
    factor = rope.scaling.get("factor") if rope.kind == "dynamic" else 1
    return (
        int(rope.max_position * factor) if isinstance(factor, (int, float)) else rope.max_position
    )
