"""Self-attention with rotary positions over the paged cache."""

from __future__ import annotations

from torch import Tensor, nn

from unisono.hardware import PortableOps
from unisono.models.config import ModelConfig
from unisono.models.layers.linear import Linear, RMSNorm
from unisono.models.step import StepContext

__all__ = ["Attention"]


class Attention(nn.Module):
    """Grouped-query attention; query and key heads may be normed before they are rotated."""

    fusion_kind = "attention"

    def __init__(self, ops: PortableOps, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.ops = ops
        self.layer = layer
        self.num_heads, self.num_kv_heads = config.num_heads, config.num_kv_heads
        self.head_dim = config.head_dim
        self.scale = config.head_dim**-0.5
        q_rows, kv_rows = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
        self.qkv_proj = Linear(
            ops,
            config.hidden_size,
            {"q_proj": q_rows, "k_proj": kv_rows, "v_proj": kv_rows},
            bias=config.qkv_bias,
        )
        self.o_proj = Linear(ops, q_rows, {"o_proj": config.hidden_size}, bias=config.output_bias)
        norm = (ops, config.head_dim, config.rms_norm_eps)
        self.q_norm = RMSNorm(*norm) if config.qk_norm else None
        self.k_norm = RMSNorm(*norm) if config.qk_norm else None

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], step: StepContext) -> Tensor:
        """x [T, H] -> [T, H]; this step's keys and values go to the cache."""
        query, key, value = self.ops.rotary_heads(
            self.qkv_proj(x), self.num_heads, self.num_kv_heads, rope, self._norms()
        )
        kv, attention = step.kv[self.layer], step.attention[self.layer]
        self.ops.kv_write(kv, key, value, attention.slots)
        out = self.ops.attention(query, kv, attention, scale=self.scale)
        return self.o_proj(out.flatten(1))

    def _norms(self) -> tuple[Tensor, Tensor, float] | None:
        if self.q_norm is None or self.k_norm is None:
            return None
        return self.q_norm.weight, self.k_norm.weight, self.q_norm.eps
