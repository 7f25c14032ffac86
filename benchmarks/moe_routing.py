"""Measures the cost of choosing experts: the share of a layer's time beside their products.

    python benchmarks/moe_routing.py [--weights auto int4] [--rounds 15]

One layer with 64 experts, 8 to a token, hidden size 2048 and experts of width 768, random weights.
Measured in turns: the whole layer, and the products of the experts that tokens take, on rows that
lie ready. The difference is the router's product, the choice, the sorting of tokens and the sum.
Where a hardware runs the whole layer in one call, that may be sooner done than its products one by
one, and the share is below 0. Medians over the rounds. Each measurement has tokens of its own, so
that no cache holds the experts that they take.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import torch
from torch import Tensor

from unisono.core import WeightFormat
from unisono.hardware import Hardware, find_hardware
from unisono.hardware.ops.experts import Routing
from unisono.hardware.weights.level_weight import LevelWeight
from unisono.hardware.weights.quantized import quantize
from unisono.models import ModelConfig
from unisono.models.config import RopeConfig
from unisono.models.expert_shape import ExpertShape
from unisono.models.layers import Linear, MoE

HIDDEN, WIDTH, NUM_EXPERTS, NUM_CHOSEN = 2048, 768, 64, 8
BATCHES = (1, 2, 4, 8, 16, 32, 64)


def config() -> ModelConfig:
    """The part of a model's configuration that the layer reads."""
    experts = ExpertShape(
        num_experts=NUM_EXPERTS,
        size=WIDTH,
        routing=Routing(num_chosen=NUM_CHOSEN, normalized=True),
        layers=frozenset([0]),
    )
    return ModelConfig(
        vocab_size=1,
        hidden_size=HIDDEN,
        num_layers=1,
        num_heads=1,
        num_kv_heads=1,
        head_dim=64,
        intermediate_size=WIDTH,
        rms_norm_eps=1e-6,
        rope=RopeConfig(rotary_dim=64, max_position=1, scaling={}),
        max_position=1,
        tie_embeddings=True,
        windows=(None,),
        experts=experts,
    )


def make_layer(hardware: Hardware, weights: str) -> MoE:
    """Weights of one shape have the same numbers, each in memory of its own."""
    layer, format = MoE(hardware.ops, config()), WeightFormat.parse(weights)
    levels: dict[tuple[int, int], LevelWeight] = {}
    for module in (module for module in layer.modules() if isinstance(module, Linear)):
        weight = torch.randn(module.shape, dtype=torch.bfloat16) / module.shape[1] ** 0.5
        if format is None or not module.quantizable:
            module.weight = torch.nn.Parameter(weight, requires_grad=False)
            module.prepare()
            continue
        if module.shape not in levels:
            levels[module.shape] = quantize(weight, format)
        one = levels[module.shape]
        module.hold(hardware.ops.prepare_quantized(replace(one, levels=one.levels.clone())))
    return layer.eval()


class Products:
    """The experts that some tokens take, on their rows."""

    def __init__(self, layer: MoE, x: Tensor) -> None:
        ids = layer.gate.choose(x)[0]
        self._ops = layer.ops
        self._work = [
            (layer.experts.held[expert], x[(ids == expert).any(1)].contiguous())
            for expert in ids.unique().tolist()
        ]

    def __call__(self) -> None:
        for expert, rows in self._work:
            hidden = self._ops.silu_mul(self._ops.linear(rows, expert.gate_up))
            self._ops.linear(hidden, expert.down)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(layer: MoE, batch: int, rounds: int) -> tuple[float, float]:
    """Median seconds of the whole layer, and of the products alone."""
    whole, products = [], []
    for _ in range(rounds + 2):
        x, other = torch.randn(2, batch, HIDDEN, dtype=torch.bfloat16)
        alone = Products(layer, other)
        whole.append(seconds(lambda x=x: layer(x)))
        products.append(seconds(alone))
    return median(whole[2:]), median(products[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", nargs="+", default=["auto", "int4"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    hardware = find_hardware(options.device)
    print(hardware.describe(0))
    print("weights  batch  layer ms  products ms  routing share")
    with torch.inference_mode(), hardware.activate():
        for weights in options.weights:
            layer = make_layer(hardware, weights)
            hardware.settle()
            for batch in BATCHES:
                whole, products = measure(layer, batch, options.rounds)
                share = 1.0 - products / whole
                print(
                    f"{weights:7}  {batch:5}  {whole * 1e3:8.2f}  {products * 1e3:11.2f}"
                    f"  {share:13.1%}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
