"""Rotary position embedding: the angles of a step.

Computed in float32 from the positions of each step; there is no table that could be too short.

Two variants rotate by the length of the text. What is cached was rotated when it was computed, so
the engine asks ``length`` for the length that a sequence is rotated for: where it changes, the
sequence is computed anew, and only sequences of one length share prefixes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unisono.hardware.ops.portable import PortableOps
from unisono.hardware.ops.standard import Rotation
from unisono.models.config import RopeConfig
from unisono.models.layers.rope_frequencies import (
    dynamic_frequencies,
    find_frequencies,
    long_frequencies,
)

Angles = tuple[Tensor, Tensor]
"""cos and sin of a step's tokens, float32 [T, rotary_dim / 2]."""


class Rope:
    """cos and sin for positions [T] -> two float32 [T, rotary_dim / 2]."""

    of_positions = True
    """True where angles are positions * frequencies, whatever the length of the text."""

    def __init__(self, config: RopeConfig, device: torch.device) -> None:
        frequencies, self.scale = find_frequencies(config)
        self.frequencies = frequencies.to(device)

    def __call__(self, positions: Tensor, lengths: Tensor | None = None) -> Angles:
        """``lengths`` int64 [T]: what ``length`` says of each token's sequence; None: 0."""
        angles = positions.unsqueeze(1) * self._of_tokens(positions, lengths)
        if self.scale == 1.0:
            return angles.cos(), angles.sin()
        return angles.cos() * self.scale, angles.sin() * self.scale

    def _of_tokens(self, positions: Tensor, lengths: Tensor | None) -> Tensor:
        """Frequencies, for all or for each."""
        return self.frequencies

    def record(self) -> Rotation:
        """The rotation of heads."""
        return Rotation(
            angles=self,
            num_pairs=len(self.frequencies),
            frequencies=self.frequencies if self.of_positions else None,
            scale=self.scale,
        )

    def length(self, num_prompt: int, num_tokens: int) -> int:
        """The length for which a sequence of so many tokens, of which ``num_prompt`` came first, is
        rotated; 0 where that does not matter."""
        return 0


class LongRope(Rope):
    """Short factors for texts up to the length of pretraining, long ones for longer texts, for
    all their tokens (Ding et al., 2024)."""

    of_positions = False

    def __init__(self, config: RopeConfig, device: torch.device) -> None:
        short, long, self.scale, self.pretrained = long_frequencies(config)
        self.frequencies, self.long_frequencies = short.to(device), long.to(device)

    def _of_tokens(self, positions: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is None:
            return self.frequencies
        is_long = (lengths > self.pretrained).unsqueeze(1)
        return torch.where(is_long, self.long_frequencies, self.frequencies)

    def length(self, num_prompt: int, num_tokens: int) -> int:
        return self.pretrained + 1 if num_tokens > self.pretrained else 0


class DynamicRope(Rope):
    """Theta grows with the text beyond the trained length ("dynamic NTK"). As transformers has it
    in generation: the tokens of a prompt are rotated for its length, those of the answer each for
    the length up to it, and what is cached stays as it is."""

    of_positions = False

    def __init__(self, config: RopeConfig, device: torch.device) -> None:
        self.config, self.scale = config, 1.0
        self.frequencies = self._of_lengths(torch.tensor([[1]], device=device))[0]

    def _of_tokens(self, positions: Tensor, lengths: Tensor | None) -> Tensor:
        own = positions + 1
        own = own if lengths is None else torch.maximum(own, lengths)
        return self._of_lengths(own.unsqueeze(1))

    def _of_lengths(self, lengths: Tensor) -> Tensor:
        return dynamic_frequencies(self.config, lengths.clamp(min=self.config.max_position))

    def length(self, num_prompt: int, num_tokens: int) -> int:
        return num_prompt if num_prompt > self.config.max_position else 0


_BY_LENGTH = {"longrope": LongRope, "dynamic": DynamicRope}


def make_rope(config: RopeConfig, device: torch.device) -> Rope:
    """The rotation of a configuration.

    Raises:
        UnsupportedModelError: of a kind that is not known.
        CheckpointError: its numbers are missing or make no sense.
    """
    return _BY_LENGTH.get(config.kind, Rope)(config, device)


def ropes_by_layer(configs: Sequence[RopeConfig | None], device: torch.device) -> list[Rope | None]:
    """One a layer, the same object for equal ones; None where a layer does not rotate."""
    made: list[tuple[RopeConfig, Rope]] = []
    ropes: list[Rope | None] = []
    for config in configs:
        rope = next((rope for known, rope in made if known == config), None)
        if rope is None and config is not None:
            rope = make_rope(config, device)
            made.append((config, rope))
        ropes.append(rope)
    return ropes


def rotate_together(
    ops: PortableOps, kinds: Sequence[tuple[Tensor, bool]], rope: Angles
) -> tuple[Tensor, ...]:
    """Heads of several kinds, turned by one op; pairs then lie half a rotation apart.

    Args:
        kinds: heads [T, n, P], and True where their pairs are neighbouring dimensions.
    """
    halves = [
        torch.unflatten(x, -1, (-1, 2)).mT if neighbours else torch.unflatten(x, -1, (2, -1))
        for x, neighbours in kinds
    ]
    rotated = ops.rope(torch.cat(halves, 1).flatten(-2), *rope)
    return torch.split(rotated, [x.shape[1] for x, _ in kinds], 1)


def in_halves(x: Tensor, rotary_dim: int) -> Tensor:
    """Heads [T, heads, D] whose neighbouring dimensions form pairs, so ordered that the pairs lie
    half a rotation apart, as ``rope`` has them. Scores between heads so ordered are the same."""
    return torch.cat((x[..., 0:rotary_dim:2], x[..., 1:rotary_dim:2], x[..., rotary_dim:]), -1)
