"""Quantised weights in plain torch: what every fast form is compared with."""

from __future__ import annotations

import pytest
import torch

from unisono.core import WeightFormat
from unisono.core.errors import CheckpointError
from unisono.hardware import PortableOps
from unisono.hardware.weights.quantized import quantize

FORMATS = ["int8", "int8-g32", "int4", "int4-g64", "int4-g128", "int4-asym", "int4-asym-g64"]


def weight(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def parsed(text: str) -> WeightFormat:
    format = WeightFormat.parse(text)
    assert format is not None
    return format


@pytest.mark.parametrize("text", FORMATS)
@pytest.mark.parametrize("shape", [(5, 64), (3, 100), (1, 1), (40, 257)])
def test_each_value_is_within_a_step_of_its_group(text: str, shape: tuple[int, int]) -> None:
    format, w = parsed(text), weight(*shape)
    q = quantize(w, format)
    assert q.levels.dtype == torch.uint8
    assert q.levels.shape == shape
    assert int(q.levels.max()) < 1 << format.bits
    groups = -(-shape[1] // format.group_size)
    assert q.scales.shape == (shape[0], groups)
    assert torch.equal(q.scales, q.scales.bfloat16().float())
    error = (q.dequantize() - w).abs()
    for g in range(groups):
        part = slice(g * format.group_size, (g + 1) * format.group_size)
        # An entry as large as the largest and of the other sign is a step beyond the levels; the
        # scale is rounded to bfloat16, a quarter of a step at level 128; a clipped range of 4 bits
        # costs 15 % of its 8 steps.
        allowed = q.scales[:, g].abs() * (1.3 if format.bits == 8 else 2.5)
        assert (error[:, part] <= allowed.unsqueeze(1) + 1e-6).all()


@pytest.mark.parametrize("text", FORMATS)
def test_more_bits_and_smaller_groups_lose_less(text: str) -> None:
    w = weight(64, 256)

    def loss(name: str) -> float:
        return float((quantize(w, parsed(name)).dequantize() - w).square().mean())

    assert loss("int8-g32") < loss("int8-g128") < loss(text) or text.startswith("int8")
    assert loss("int4") < loss("int4-g64") < loss("int4-g128")
    assert loss("int4-asym") < loss("int4")


@pytest.mark.parametrize("text", FORMATS)
def test_zeros_stay_zeros_and_one_sided_groups_work(text: str) -> None:
    format = parsed(text)
    w = torch.zeros(4, 96)
    assert not quantize(w, format).dequantize().any()
    w[1], w[2], w[3, 7] = 3.0, -2.0, 1e-30
    values = quantize(w, format).dequantize()
    assert values.isfinite().all()
    torch.testing.assert_close(values[:3], w[:3], rtol=0.01, atol=0)


@pytest.mark.parametrize("text", FORMATS)
@pytest.mark.parametrize("size", [1e-45, 2.0**-118, 1e30, 3e38])
def test_the_ends_of_the_range_stay_finite(text: str, size: float) -> None:
    w = weight(8, 64).clamp(-1, 1) * size
    q = quantize(w, parsed(text))
    normal = q.scales[q.scales != 0].abs()
    assert (normal >= 2.0**-126).all()
    assert normal.numel() or size < 1e-40
    assert q.dequantize().isfinite().all()


@pytest.mark.parametrize("signs", [(1, -1), (-1, 1)])
def test_the_first_of_the_largest_decides_the_sign(signs: tuple[int, int]) -> None:
    w = torch.zeros(1, 32)
    w[0, 3], w[0, 20] = signs[0] * 2.0, signs[1] * 2.0
    for text in ("int8", "int4"):
        q = quantize(w, parsed(text))
        assert int(q.levels[0, 3]) == 0
        assert q.scales.sign().item() == -signs[0]


@pytest.mark.parametrize("text", FORMATS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_refused(text: str, bad: float) -> None:
    w = weight(4, 64)
    w[2, 40] = bad
    with pytest.raises(CheckpointError, match="not finite"):
        quantize(w, parsed(text))


def test_rows_do_not_depend_on_their_neighbours() -> None:
    w = weight(9, 128)
    whole, alone = quantize(w, parsed("int4")), quantize(w[4:5], parsed("int4"))
    assert torch.equal(whole.levels[4:5], alone.levels)
    assert torch.equal(whole.scales[4:5], alone.scales)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_reference_product(dtype: torch.dtype) -> None:
    ops = PortableOps()
    held = ops.prepare_linear(weight(7, 96).to(dtype), parsed("int4-asym"))
    x = weight(3, 96, seed=1).to(dtype)
    expected = x.float() @ held.dequantize().T
    ours = ops.linear(x, held).float()
    assert (ours - expected).abs().max() <= 8 * torch.finfo(dtype).eps * expected.abs().max()
    assert held.num_bytes == int(7 * 96 * 4.75 / 8)
