"""Self-attention with rotary positions over the paged cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from unisono.hardware.ops.portable import PortableOps
from unisono.hardware.ops.standard import StandardAttention
from unisono.models.config import ModelConfig
from unisono.models.layers.described import Described
from unisono.models.layers.linear import Linear, unfilled
from unisono.models.layers.norm import Norm, ProjectionNorm, make_norm
from unisono.models.layers.rope import Angles, in_halves
from unisono.models.layers.split import Split
from unisono.models.step import StepContext

Heads = tuple[Tensor, Tensor, Tensor]
"""Query [T, Hq, D], key and value [T, Hk, D]."""
HEAD_SPLITS: Mapping[str, Split] = {"q_proj": "out", "k_proj": "kv", "v_proj": "kv"}


class Attention(Described):
    """Grouped-query attention. A family overrides ``heads`` where query and key heads need more
    than the configuration says."""

    gives_term = True
    splits: ClassVar[Mapping[str, Split]] = {"sinks": "out"}

    def __init__(self, ops: PortableOps, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.ops = ops
        self.layer = layer
        self.num_heads, self.num_kv_heads = config.num_heads, config.num_kv_heads
        self.head_dim = config.head_dim
        self.scale = config.attention_scale or config.head_dim**-0.5
        self.softcap = config.attention_softcap
        q_rows, kv_rows = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.qkv_proj = Linear(
            ops,
            config.hidden_size,
            {"q_proj": q_rows, "k_proj": kv_rows, "v_proj": kv_rows},
            split=HEAD_SPLITS,
            bias=config.qkv_bias,
        )
        self.o_proj = Linear(
            ops, q_rows, {"o_proj": config.hidden_size}, split="in", bias=config.output_bias
        )
        self.q_norm = _head_norm(ops, config, config.num_heads, "out")
        self.k_norm = _head_norm(ops, config, config.num_kv_heads, "kv")
        self.sinks = unfilled(config.num_heads) if config.attention_sinks else None
        rope = config.ropes[layer]
        self.rotates_pairs = rope is not None and rope.interleaved
        has_plain_norms = self.q_norm is None or self.q_norm.standard() is not None
        self._rotates_in_one = has_plain_norms and rope is not None and not rope.interleaved

    def forward(self, x: Tensor, rope: Angles | None, step: StepContext) -> Tensor:
        """x [T, H] -> [T, H]; this step's keys and values go to the cache."""
        query, key, value = self.heads(self.qkv_proj(x), rope, step)
        return self.o_proj(self.attend(query, key, value, step).flatten(1))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, step: StepContext) -> Tensor:
        """Query [T, Hq, D] over what the cache holds, key and value [T, Hk, D] among it ->
        [T, Hq, D]."""
        kv = step.keys_and_values(self.ops, self.layer, key, value)
        return self.ops.attention(
            query,
            kv,
            step.attention[self.layer],
            scale=self.scale,
            softcap=self.softcap,
            sinks=self.sinks,
        )

    def heads(self, qkv: Tensor, rope: Angles | None, step: StepContext) -> Heads:
        """qkv [T, (Hq + 2 Hk) * D] -> query [T, Hq, D], key and value [T, Hk, D]."""
        if self._rotates_in_one and rope is not None:
            return self.ops.rotary_heads(
                qkv, self.num_heads, self.num_kv_heads, rope, self._norms()
            )
        query, key, value = self.split_heads(qkv)
        if self.q_norm is not None and self.k_norm is not None:
            # Norms that are held in float32 take and leave float32, up to behind the rotation.
            query, key, _ = self.split_heads(qkv.to(self.q_norm.weight.dtype))
            query, key = self.q_norm(query), self.k_norm(key)
        if rope is None:
            return query.to(qkv.dtype), key.to(qkv.dtype), value
        return *self.rotate_both(query, key, rope, qkv.dtype), value

    def split_heads(self, qkv: Tensor) -> tuple[Tensor, ...]:
        """qkv [T, (Hq + 2 Hk) * D] -> query [T, Hq, D], key and value [T, Hk, D], as they are."""
        split = [self.num_heads, self.num_kv_heads, self.num_kv_heads]
        return torch.split(qkv.view(qkv.shape[0], sum(split), -1), split, dim=1)

    def rotate(self, x: Tensor, rope: Angles) -> Tensor:
        """Heads [T, heads, D], turned by their positions."""
        if self.rotates_pairs:
            x = in_halves(x, 2 * rope[0].shape[-1])
        return self.ops.rope(x, *rope)

    def rotate_both(
        self, query: Tensor, key: Tensor, rope: Angles, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Query [T, Hq, D] and key [T, Hk, D], turned together, in ``dtype``."""
        rotated = self.rotate(torch.cat((query, key), 1), rope).to(dtype)
        return rotated[:, : query.shape[1]], rotated[:, query.shape[1] :]

    def _norms(self) -> tuple[Tensor, Tensor, float] | None:
        if self.q_norm is None or self.k_norm is None:
            return None
        return self.q_norm.weight, self.k_norm.weight, self.q_norm.eps

    def standard(self) -> StandardAttention | None:
        qkv, output = self.qkv_proj.standard(), self.o_proj.standard()
        has_more = self.softcap is not None or self.sinks is not None
        if has_more or not self._rotates_in_one or qkv is None or output is None:
            return None
        return StandardAttention(
            layer=self.layer,
            num_heads=self.num_heads,
            num_kv_heads=self.num_kv_heads,
            head_dim=self.head_dim,
            scale=self.scale,
            qkv=qkv,
            output=output,
            head_norms=self._norms(),
        )


def _head_norm(ops: PortableOps, config: ModelConfig, num_heads: int, split: Split) -> Norm | None:
    if config.qk_norm is None:
        return None
    if config.qk_norm == "projection":
        return ProjectionNorm(ops, num_heads * config.head_dim, config.rms_norm_eps, split)
    return make_norm(ops, config, config.head_dim)
