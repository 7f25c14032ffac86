"""A mixture of experts: a router sends each token to a few of many gated MLPs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import overload

import torch
from torch import Tensor, nn

from unisono.hardware.ops.experts import Expert, StackedExperts
from unisono.hardware.ops.portable import PortableOps
from unisono.models.config import ModelConfig
from unisono.models.expert_shape import ExpertShape
from unisono.models.layers.linear import Linear, unfilled
from unisono.models.layers.mlp import MLP


class Router(Linear):
    """The experts of each token and their weights; called, the logits [T, E] behind that."""

    constants = ("e_score_correction_bias",)
    """Moved by what balances the load, not by gradients."""

    def __init__(self, ops: PortableOps, hidden_size: int, shape: ExpertShape) -> None:
        super().__init__(
            ops,
            hidden_size,
            {"gate": shape.num_experts},
            split=None,
            bias=shape.router_bias,
            quantizable=False,
            float32=shape.router_float32,
        )
        self.routing = shape.routing
        self.e_score_correction_bias = unfilled(shape.num_experts) if shape.corrected else None
        self.float32 = shape.router_float32
        self.float32_parameters += ("e_score_correction_bias",)

    def choose(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [T, H] -> ids int64 [T, k] and weights float32 [T, k]."""
        logits = self(x.float() if self.float32 else x)
        return self.ops.moe_route(logits, self.routing, self.e_score_correction_bias)


class ExpertLinear(Linear):
    """A product of an expert; ``moe_experts`` does it."""

    takes_adapters = False


class ExpertMLP(nn.Module):
    """The weights of one expert; ``moe_experts`` runs them."""

    def __init__(self, ops: PortableOps, hidden_size: int, width: int, *, bias: bool) -> None:
        super().__init__()
        self.gate_up_proj = ExpertLinear(
            ops, hidden_size, {"gate_proj": width, "up_proj": width}, split="out", bias=bias
        )
        self.down_proj = ExpertLinear(ops, width, {"down_proj": hidden_size}, split="in", bias=bias)

    @property
    def is_prepared(self) -> bool:
        return self.gate_up_proj.is_prepared and self.down_proj.is_prepared

    @property
    def weights(self) -> Expert:
        gate_up, down = self.gate_up_proj, self.down_proj
        return Expert(gate_up.weight, down.weight, gate_up.bias, down.bias)


class Experts(nn.ModuleList):
    """The experts of a layer, each with linear layers of its own."""

    def __init__(self, ops: PortableOps, hidden_size: int, shape: ExpertShape) -> None:
        super().__init__(
            ExpertMLP(ops, hidden_size, shape.size, bias=shape.bias)
            for _ in range(shape.num_experts)
        )
        self.ops, self.shape = ops, shape
        self.held: Sequence[Expert] = _Held(self)

    def stack(self, dtype: torch.dtype, device: torch.device) -> None:
        """Make one tensor for each parameter of all experts, where the hardware likes that. Called
        before there are weights, which are all going to be numbers."""
        if not self.ops.stacks_experts:
            return
        stacked = {
            name: torch.empty((len(self), *parameter.shape), dtype=dtype, device=device)
            for name, parameter in self[0].named_parameters()
        }
        for i, expert in enumerate(self):
            for name, whole in stacked.items():
                layer, _, parameter = name.rpartition(".")
                own = nn.Parameter(whole[i], requires_grad=False)
                setattr(expert.get_submodule(layer), parameter, own)
        self.held = StackedExperts(
            stacked["gate_up_proj.weight"],
            stacked["down_proj.weight"],
            stacked.get("gate_up_proj.bias"),
            stacked.get("down_proj.bias"),
        )


class _Held(Sequence[Expert]):
    """The weights of experts as they are now: only those of a step are looked at. Prepared ones
    stay the same, and are kept at hand."""

    def __init__(self, experts: Experts) -> None:
        self._experts = experts
        self._prepared: dict[int, Expert] = {}

    @overload
    def __getitem__(self, index: int) -> Expert: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Expert]: ...

    def __getitem__(self, index: int | slice) -> Expert | Sequence[Expert]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index in self._prepared:
            return self._prepared[index]
        expert = self._experts[index]
        assert isinstance(expert, ExpertMLP)
        if expert.is_prepared:
            self._prepared[index] = expert.weights
        return expert.weights

    def __len__(self) -> int:
        return len(self._experts)


class MoE(nn.Module):
    """The experts that ``gate`` chooses, weighted, and one that every token takes, perhaps with a
    gate of its own: sigmoid(x w) times what it gives."""

    gives_term = True

    def __init__(self, ops: PortableOps, config: ModelConfig) -> None:
        super().__init__()
        shape, hidden = config.experts, config.hidden_size
        assert shape is not None
        self.ops, self.shape, self.activation = ops, shape, config.activation
        self.gate = Router(ops, hidden, shape)
        self.experts = Experts(ops, hidden, shape)
        shared = replace(config, intermediate_size=shape.shared_size)
        self.shared_expert = MLP(ops, shared) if shape.shared_size else None
        self.shared_expert_gate = (
            Linear(ops, hidden, {"shared_expert_gate": 1}, split=None, quantizable=False)
            if shape.shared_gate
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """x [T, H] -> [T, H]."""
        ids, weights = self.gate.choose(x)
        out = (self._on_weighted if self.shape.weighs_input else self._weighted)(x, ids, weights)
        if self.shared_expert is None:
            return out
        shared: Tensor = self.shared_expert(x)
        if self.shared_expert_gate is not None:
            shared = self.shared_expert_gate(x).sigmoid() * shared
        return out + shared

    def _weighted(self, x: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
        return self.ops.moe_experts(x, ids, weights, self.experts.held, self.activation)

    def _on_weighted(self, x: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
        """Each of a token's experts gets a row of its own, multiplied by its weight."""
        rows = (x.unsqueeze(1) * weights.to(x.dtype).unsqueeze(-1)).flatten(0, 1)
        ones = torch.ones_like(weights).view(-1, 1)
        first, *others = self._weighted(rows, ids.view(-1, 1), ones).view(*ids.shape, -1).unbind(1)
        return sum(others, first)
