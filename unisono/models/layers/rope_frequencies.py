"""The frequencies of each variant of rotary position embedding."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from unisono.core.errors import CheckpointError, UnsupportedModelError
from unisono.models.config import RopeConfig


def find_frequencies(config: RopeConfig) -> tuple[Tensor, float]:
    """The frequencies [rotary_dim / 2] of a variant that is the same for every length of text, and
    by what cos and sin are multiplied.

    Raises:
        UnsupportedModelError: the variant is not known.
        CheckpointError: its numbers are missing or make no sense.
    """
    variant = _VARIANTS.get(config.kind)
    if variant is None:
        raise UnsupportedModelError(
            f"Rope variant {config.kind!r} is not known.",
            hint=f"Known: {', '.join((*_VARIANTS, 'longrope', 'dynamic'))}.",
        )
    return variant(config)


def _default(config: RopeConfig) -> tuple[Tensor, float]:
    """theta^(-2i/d) (Su et al., 2021)."""
    return 1.0 / (config.theta ** _exponents(config)), 1.0


def _exponents(config: RopeConfig) -> Tensor:
    """2i/d of each pair of dimensions."""
    return torch.arange(0, config.rotary_dim, 2, dtype=torch.int64).float() / config.rotary_dim


def _linear(config: RopeConfig) -> tuple[Tensor, float]:
    """Positions divided by a factor (Chen et al., 2023, position interpolation)."""
    return _default(config)[0] / _number(config, "factor"), 1.0


def _ntk_alpha(config: RopeConfig) -> tuple[Tensor, float]:
    """Theta stretched by alpha^(d / (d - 2)) ("NTK-aware" scaling; HunYuan)."""
    theta = config.theta * _number(config, "alpha") ** _stretch(config)
    return _default(replace(config, theta=theta))


def _stretch(config: RopeConfig) -> float:
    """d / (d - 2): a factor of theta to this power slows the slowest pair down by the factor."""
    if config.rotary_dim == 2:
        raise CheckpointError(f"config.json: rope {config.kind!r} needs more than one pair a head.")
    return config.rotary_dim / (config.rotary_dim - 2)


def _proportional(config: RopeConfig) -> tuple[Tensor, float]:
    """The exponents of a whole head, the last of its pairs at rest (Gemma 4)."""
    num_turning = int(_number(config, "rotated_share", 1.0) * config.rotary_dim // 2)
    frequencies = _default(config)[0] / _number(config, "factor", 1.0)
    frequencies[num_turning:] = 0.0
    return frequencies, 1.0


def _llama3(config: RopeConfig) -> tuple[Tensor, float]:
    """Long waves slowed down, short ones kept, a ramp between them (Llama 3.1 model card)."""
    frequencies, _ = _default(config)
    factor = _number(config, "factor")
    low, high = _number(config, "low_freq_factor"), _number(config, "high_freq_factor")
    original = _number(config, "original_max_position_embeddings")
    if not low < high:
        raise CheckpointError(
            "config.json: rope 'llama3' needs low_freq_factor < high_freq_factor."
        )
    wavelengths = 2 * math.pi / frequencies
    ramp = ((original / wavelengths - low) / (high - low)).clamp(0.0, 1.0)
    return (1 - ramp) * frequencies / factor + ramp * frequencies, 1.0


def _factors(config: RopeConfig) -> tuple[Tensor, float]:
    """Each wavelength with a factor of its own, as GGUF files state the variant ``llama3``."""
    frequencies, _ = _default(config)
    factors = _listed(config, "factors", len(frequencies))
    return frequencies / factors, 1.0


def long_frequencies(config: RopeConfig) -> tuple[Tensor, Tensor, float, int]:
    """Frequencies of short and of long texts, what cos and sin are multiplied by, and the longest
    short text (Ding et al., 2024)."""
    pretrained = _number(config, "original_max_position_embeddings", config.max_position)
    factor = _number(config, "factor", config.max_position / pretrained)
    default = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(pretrained))
    scale = _number(config, "attention_factor", default)
    exponents = _exponents(config)
    short, long = (
        1.0 / (_listed(config, name, len(exponents)) * config.theta**exponents)
        for name in ("short_factor", "long_factor")
    )
    return short, long, scale, int(pretrained)


def dynamic_frequencies(config: RopeConfig, lengths: Tensor) -> Tensor:
    """Frequencies [T, rotary_dim / 2] for texts of ``lengths`` [T, 1], none below the trained
    length ("dynamic NTK")."""
    factor = _number(config, "factor")
    growth = factor * lengths / config.max_position - (factor - 1)
    theta = config.theta * growth ** _stretch(config)
    return 1.0 / theta ** _exponents(config).to(lengths.device)


def _yarn(config: RopeConfig) -> tuple[Tensor, float]:
    """Interpolate slow dimensions, keep fast ones, sharpen the attention (Peng et al., 2023)."""
    frequencies, _ = _default(config)
    original = _number(config, "original_max_position_embeddings", config.max_position)
    factor = _number(config, "factor", config.max_position / original)
    fast, slow = _number(config, "beta_fast", 32.0), _number(config, "beta_slow", 1.0)

    def dimension(rotations: float) -> float:
        turns = original / (rotations * 2 * math.pi)
        return config.rotary_dim * math.log(turns) / (2 * math.log(config.theta))

    low, high = dimension(fast), dimension(slow)
    if config.scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, config.rotary_dim - 1)
    steps = torch.arange(config.rotary_dim // 2).float()
    kept = 1 - ((steps - low) / max(high - low, 0.001)).clamp(0.0, 1.0)
    mixed = frequencies / factor * (1 - kept) + frequencies * kept
    return mixed, _yarn_scale(config, factor)


def _yarn_scale(config: RopeConfig, factor: float) -> float:
    if config.scaling.get("attention_factor") is not None:
        return _number(config, "attention_factor")

    def scale(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    if config.scaling.get("mscale") and config.scaling.get("mscale_all_dim"):
        return scale(_number(config, "mscale")) / scale(_number(config, "mscale_all_dim"))
    return scale(1.0)


def _listed(config: RopeConfig, name: str, count: int) -> Tensor:
    """Positive numbers, one for each pair of dimensions."""
    given = config.scaling.get(name)
    if (
        not isinstance(given, list)
        or len(given) != count
        or not all(type(each) in (int, float) and 0 < each < 1e30 for each in given)
    ):
        raise CheckpointError(
            f"config.json: rope {config.kind!r} needs {count} positive numbers {name}, has "
            f"{given!r:.80}."
        )
    return torch.tensor(given, dtype=torch.float32)


def _number(config: RopeConfig, name: str, default: float | None = None) -> float:
    value = config.scaling.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e30:
        raise CheckpointError(
            f"config.json: rope {config.kind!r} needs a positive number {name}, has {value!r:.80}."
        )
    return float(value)


_VARIANTS: dict[str, Callable[[RopeConfig], tuple[Tensor, float]]] = {
    "default": _default,
    "linear": _linear,
    "llama3": _llama3,
    "ntk_alpha": _ntk_alpha,
    "proportional": _proportional,
    "factors": _factors,
    "yarn": _yarn,
}
