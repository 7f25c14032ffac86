"""Sampling parameters that a model's publisher recommends: ``generation_config.json``, or the
header of a GGUF file.

Of the many fields of that file these are read: ``temperature``, ``top_k``, ``top_p``, ``min_p``,
``repetition_penalty`` and ``do_sample``. How long an answer may be is the caller's to say, and
which tokens end it is read with the model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unisono.core.errors import CheckpointError, ConfigError, InvalidRequestError
from unisono.core.folder_files import read_json_object
from unisono.core.sampling_defaults import SamplingDefaults
from unisono.gguf.files import GgufFile, is_gguf

AUTO, NONE = "auto", "none"
_FILE = "generation_config.json"
_MAX_BYTES = 1 << 20
_FIELDS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
_GGUF_PREFIX = "general.sampling."
_GGUF_KEYS = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repetition_penalty",
}
"""Sampling fields of a GGUF header by llama.cpp's names (its pull request 17120) -> our names."""
_WAY_OUT = "Correct it, or leave it out with --generation-config none."


def read_sampling_defaults(model: Path, source: str | Path = AUTO) -> SamplingDefaults:
    """Reads the sampling defaults for requests to ``model`` that do not say otherwise.

    Args:
        model: a model's folder or GGUF file.
        source: ``auto`` is the model's own; ``none`` is nothing; otherwise a
            ``generation_config.json`` or the folder that holds one.

    Raises:
        CheckpointError: a file of the model that cannot be read, or a field of it that cannot be
            used.
        ConfigError: the same of ``source``, or it is not there.
    """
    if not isinstance(source, str | Path):
        raise ConfigError(
            f"A generation configuration is named by a text or a path, not by {source!r:.40}.",
            hint=f"Give a {_FILE}, its folder, {AUTO!r} or {NONE!r}.",
        )
    if source == NONE:
        return SamplingDefaults()
    if source == AUTO:
        return _of_gguf(model) if is_gguf(model) else _of_json(model / _FILE)
    path = Path(source).expanduser()
    path = path / _FILE if path.is_dir() else path
    if not path.is_file():
        raise ConfigError(
            f"There is no generation configuration {str(path)!r}.",
            hint=f"Give --generation-config a {_FILE}, its folder, {AUTO} or {NONE}.",
        )
    try:
        return _of_json(path)
    except CheckpointError as error:
        raise ConfigError(error.message, hint=f"Correct {path}, or name another file.") from error


def _of_json(path: Path) -> SamplingDefaults:
    values = read_json_object(path, _MAX_BYTES)
    fields = {name: values[name] for name in _FIELDS if values.get(name) is not None}
    samples = values.get("do_sample")
    if samples is not None and not isinstance(samples, bool):
        raise CheckpointError(
            f"{path.name}: do_sample must be true or false, is {samples!r:.40}.", hint=_WAY_OUT
        )
    if samples is not None:
        fields["temperature"] = fields.get("temperature", 1.0) if samples else 0.0
    return _checked(fields, {name: f"{path.name}: {name}" for name in _FIELDS})


def _of_gguf(path: Path) -> SamplingDefaults:
    metadata = GgufFile.read(path).metadata
    found = {name: metadata.number(_GGUF_PREFIX + key) for key, name in _GGUF_KEYS.items()}
    fields = {name: _as_written(value) for name, value in found.items() if value is not None}
    names = {name: f"{metadata.source}: {_GGUF_PREFIX}{key}" for key, name in _GGUF_KEYS.items()}
    return _checked(fields, names)


def _as_written(value: float) -> float:
    """The number that was meant: 0.95 is 0.949999988 once it has been a float32."""
    return float(f"{value:.7g}") if isinstance(value, float) else value


def _checked(fields: dict[str, Any], names: dict[str, str]) -> SamplingDefaults:
    """``names`` are what the fields are called where they come from."""
    top_k = fields.get("top_k")
    if isinstance(top_k, float) and top_k.is_integer():
        top_k = int(top_k)
    if type(top_k) is int:
        fields["top_k"] = max(top_k, 0)  # -1 is no limit, too
    try:
        return SamplingDefaults(**fields)
    except InvalidRequestError as error:
        name = str(error.param)
        message = error.message.replace(name, names[name], 1)
        raise CheckpointError(message, hint=_WAY_OUT) from error
