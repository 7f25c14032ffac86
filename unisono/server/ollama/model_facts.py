"""The served model as Ollama's clients see models: what its files say.

Knows files and Ollama's objects; nothing of engines.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

from unisono.core.errors import UnisonoError
from unisono.core.folder_files import read_json_object
from unisono.gguf.files import GgufFile, is_gguf, model_files

Json = dict[str, Any]
_MAX_CONFIG = 1 << 24


@dataclass(frozen=True)
class ModelFacts:
    """Facts of a model's files.

    ``digest`` changes when the files do; it is not a hash of what they hold.
    """

    format: str
    family: str
    size: int
    modified_at: str
    digest: str
    quantization: str

    @classmethod
    @lru_cache(maxsize=1)
    def of(cls, model: Path) -> ModelFacts:
        """Read once: the files of a model that is served stay as they are."""
        is_file = model.is_file() and is_gguf(model)
        files = model_files(model) if is_file else sorted(model.glob("*.safetensors"))
        states = [(file.name, file.stat()) for file in files]
        listed = "\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in states)
        newest_s = max((stat.st_mtime for _, stat in states), default=0.0)
        family, quantization = _family(model, is_file=is_file)
        return cls(
            format="gguf" if is_file else "safetensors",
            family=family,
            size=sum(stat.st_size for _, stat in states),
            modified_at=datetime.fromtimestamp(newest_s, timezone.utc).isoformat(),
            digest=hashlib.sha256(listed.encode()).hexdigest(),
            quantization=quantization,
        )

    @property
    def details(self) -> Json:
        return {
            "parent_model": "",
            "format": self.format,
            "family": self.family,
            "families": [self.family],
            "parameter_size": "",
            "quantization_level": self.quantization,
        }


def _family(model: Path, *, is_file: bool) -> tuple[str, str]:
    """The kind of model and how its weights are stored, as its files name them."""
    try:
        if is_file:
            return GgufFile.read(model).metadata.text("general.architecture") or "", "gguf"
        config = read_json_object(model / "config.json", _MAX_CONFIG)
    except UnisonoError:
        return "", ""
    stored = config.get("quantization_config")
    method = stored.get("quant_method") if isinstance(stored, dict) else None
    plain = config.get("dtype") or config.get("torch_dtype")
    return str(config.get("model_type") or ""), str(method or plain or "")
