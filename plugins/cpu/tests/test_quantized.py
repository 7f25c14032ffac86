"""Quantised weights that come from elsewhere, in the library's layout."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from unisono_cpu.hardware import NativeCpuOps

from unisono.core import WeightFormat
from unisono.hardware import quantize
from unisono.models import RawConfig
from unisono.models.layers import MLP

SMALL = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "vocab_size": 128,
}


@pytest.mark.parametrize("text", ["int8", "int4-g64", "int4-asym"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_levels_and_scales_of_a_checkpoint_stay_as_they_are(text: str, dtype: torch.dtype) -> None:
    """Scales of other programs need not be bfloat16 numbers."""
    format = WeightFormat.parse(text)
    assert format is not None
    made = quantize(torch.randn(40, 256), format)
    scales = (made.scales * 1.2345).to(dtype).float()
    held = NativeCpuOps().prepare_quantized(replace(made, scales=scales))
    assert torch.equal(held.unpack(), replace(made, scales=scales).dequantize())


def test_a_float16_mlp_with_quantised_weights() -> None:
    """No kernel has float16 activations: they pass through float32."""
    ops = NativeCpuOps()
    mlp = MLP(ops, RawConfig(SMALL).dense_decoder())
    torch.manual_seed(0)
    for linear in (mlp.gate_up_proj, mlp.down_proj):
        linear.weight = torch.nn.Parameter(torch.randn(linear.weight.shape) * 0.1)
        linear.prepare(WeightFormat(bits=8))
    x = torch.randn(3, 64)
    expected = mlp(x)
    fused = ops.fuse(mlp.standard(), mlp.forward)
    assert fused is not None
    assert fused(x.half()).dtype == torch.float16
    torch.testing.assert_close(fused(x.half()).float(), expected, rtol=0.02, atol=0.02)
