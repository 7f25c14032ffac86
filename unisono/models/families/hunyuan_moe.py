"""HunYuan v1 with experts (Tencent, 2025), such as Hunyuan-A13B."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from unisono.core.errors import UnsupportedModelError
from unisono.hardware.ops.experts import Routing
from unisono.models.config import ModelConfig
from unisono.models.expert_config import read_experts
from unisono.models.families.hunyuan import HunYuanDense
from unisono.models.raw_config import RawConfig

__all__ = ["HunYuanMoe"]


class HunYuanMoe(HunYuanDense):
    renamed = (
        *HunYuanDense.renamed,
        (".gate.wg.", ".gate."),
        (".shared_mlp.", ".shared_expert."),
    )

    @classmethod
    def read_config(cls, raw: RawConfig) -> ModelConfig:
        raw.require(use_cla=False, moe_layer_num_skipped=0, use_mixed_mlp_moe=True)
        names = ("num_experts", "moe_topk", "num_shared_expert", "moe_intermediate_size")
        raw = raw.with_values(**{name: _of_each_layer(raw, name) for name in names})
        size = raw.integer("intermediate_size")
        raw.require(moe_intermediate_size=size)
        experts = read_experts(
            raw,
            Routing(num_chosen=raw.integer("moe_topk", 1), normalized=True),
            default=1,
            width="intermediate_size",
            shared_size=size * raw.integer("num_shared_expert", 1),
            router_float32=True,
        )
        return replace(super().read_config(raw), experts=experts)


def _of_each_layer(raw: RawConfig, name: str) -> Any:
    """A number, also where it is stated for every layer.

    Raises:
        UnsupportedModelError: layers differ.
    """
    value = raw.get(name)
    if not isinstance(value, list):
        return value
    if len({str(each) for each in value}) != 1:
        raise UnsupportedModelError(f"{raw.source}: layers of different {name} are not supported.")
    return value[0]
