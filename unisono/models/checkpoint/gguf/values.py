"""Reads a GGUF file's architecture and rotary positions."""

from __future__ import annotations

from typing import Any

from unisono.core.errors import UnsupportedModelError
from unisono.gguf.files import GgufFile


class Own:
    """Values under the name of the file's architecture.

    Raises:
        CheckpointError: (all of it) a value is of the wrong kind.
    """

    def __init__(self, file: GgufFile) -> None:
        self.metadata = file.metadata
        self._tensors = file.tensors
        self._prefix = file.metadata.required_text("general.architecture")

    def value(self, key: str, default: Any = None) -> Any:
        """A number; where there is one for each layer and they are equal, that.

        Raises:
            UnsupportedModelError: they are not.
        """
        value = self.list_or_number(key)
        if isinstance(value, list):
            if len(set(value)) != 1:
                raise UnsupportedModelError(
                    f"{self.metadata.source}: {self._prefix}.{key} differs between layers.",
                    hint="Fetch the model as safetensors.",
                )
            value = value[0]
        return default if value is None else value

    def list_or_number(self, key: str) -> Any:
        """A number, or a list with one for each layer; None where there is none."""
        return self.metadata.scalar_or_numbers(f"{self._prefix}.{key}")

    def text(self, key: str) -> str | None:
        return self.metadata.text(f"{self._prefix}.{key}")

    def has_tensor(self, name: str) -> bool:
        return name in self._tensors


def read_rope(own: Own, factors: list[float] | None = None) -> dict[str, Any]:
    """``rope_parameters``.

    Args:
        factors: the file's own of the wavelengths, one a frequency.

    Raises:
        UnsupportedModelError: a variant that is not read.
    """
    rope: dict[str, Any] = {"rope_theta": float(own.value("rope.freq_base", 10_000.0))}
    kind = own.text("rope.scaling.type") or "none"
    factor = own.value("rope.scaling.factor", own.value("rope.scale_linear", 0.0))
    if factors is not None:
        return {**rope, "rope_type": "factors", "factors": factors}
    if kind == "yarn":
        names = {
            "original_max_position_embeddings": "original_context_length",
            "attention_factor": "attn_factor",
            "beta_fast": "yarn_beta_fast",
            "beta_slow": "yarn_beta_slow",
        }
        given = {name: own.value(f"rope.scaling.{key}") for name, key in names.items()}
        return {**rope, "rope_type": "yarn", "factor": factor, **given}
    if kind not in ("none", "linear"):
        raise UnsupportedModelError(
            f"{own.metadata.source}: rope scaling {kind!r:.40} is not read from GGUF.",
            hint="Fetch the model as safetensors.",
        )
    return {**rope, "rope_type": "linear", "factor": factor} if factor else rope
