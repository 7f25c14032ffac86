"""Names of checkpoints, and several weights in one tensor."""

from __future__ import annotations

import torch

from unisono.models.checkpoint.names import CheckpointNames
from unisono.models.checkpoint.splits import FusedExperts, MergedRows, View


def views_of(names: CheckpointNames, stored: str) -> dict[str, View]:
    return {part.name: part.view for part in names.parts(stored)}


def test_prefixes_and_parts_there_and_back() -> None:
    names = CheckpointNames(
        renamed=(("^model.language_model.", "model."), (".block_sparse_moe.", ".mlp."))
    )
    stored = "model.language_model.layers.3.block_sparse_moe.gate.weight"
    ours = "model.layers.3.mlp.gate.weight"
    assert [part.name for part in names.parts(stored)] == [ours]
    assert names.stored(ours) == stored
    assert [part.name for part in names.parts(ours)] == [ours]


def test_one_of_several_beginnings() -> None:
    names = CheckpointNames(
        renamed=(
            ("^language_model.model.", "model."),
            ("^model.language_model.", "model."),
            (".gate.", ".router."),
        )
    )
    assert names.stored("model.layers.3.router.weight") in (
        "model.language_model.layers.3.gate.weight",
        "language_model.model.layers.3.gate.weight",
    )
    assert names.stored("lm_head.weight") == "lm_head.weight"


def test_ignored() -> None:
    names = CheckpointNames(ignored=("visual.", "model.layers.2."))
    assert names.parts("visual.blocks.0.weight") == []
    assert names.parts("model.layers.2.eh_proj.weight") == []
    assert len(names.parts("model.layers.21.eh_proj.weight")) == 1


def test_merged_rows_and_their_scales() -> None:
    names = CheckpointNames(splits=(MergedRows("qkv_proj", {"q_proj": 4, "k_proj": 2}),))
    views = views_of(names, "model.layers.0.self_attn.qkv_proj.weight")
    weight = torch.arange(12.0).view(6, 2)
    assert {name: view(weight).tolist() for name, view in views.items()} == {
        "model.layers.0.self_attn.q_proj.weight": weight[:4].tolist(),
        "model.layers.0.self_attn.k_proj.weight": weight[4:].tolist(),
    }
    scales = views_of(names, "model.layers.0.self_attn.qkv_proj.weight_scale_inv")
    assert [view(torch.zeros(3, 1)).shape[0] for view in scales.values()] == [2, 1]


def test_fused_experts_are_views() -> None:
    split = FusedExperts(3)
    stored = torch.randn(3, 8, 5)
    views = split("model.layers.0.mlp.experts.gate_up_proj")
    assert len(views) == 6
    up = views["model.layers.0.mlp.experts.2.up_proj.weight"](stored)
    assert torch.equal(up, stored[2, 4:])
    assert up.untyped_storage().data_ptr() == stored.untyped_storage().data_ptr()


def test_transposed_and_interleaved_experts() -> None:
    split = FusedExperts(3, transposed=True, interleaved=True)
    stored, bias = torch.randn(3, 5, 8), torch.randn(3, 8)
    weights = split("model.layers.0.mlp.experts.gate_up_proj")
    up = weights["model.layers.0.mlp.experts.1.up_proj.weight"](stored)
    assert torch.equal(up, stored[1].T[1::2])
    biases = split("model.layers.0.mlp.experts.gate_up_proj_bias")
    gate = biases["model.layers.0.mlp.experts.1.gate_proj.bias"](bias)
    assert torch.equal(gate, bias[1, ::2])
    blocks = split("model.layers.0.mlp.experts.gate_up_proj_blocks")
    name = "model.layers.0.mlp.experts.1.gate_proj.blocks"
    assert blocks[name](torch.zeros(3, 8, 2, 16)).shape == (4, 2, 16)


def test_one_tensor_for_each_expert_stays() -> None:
    names = CheckpointNames(splits=(FusedExperts(3),))
    name = "model.layers.0.mlp.experts.1.gate_proj.weight"
    assert [part.name for part in names.parts(name)] == [name]
