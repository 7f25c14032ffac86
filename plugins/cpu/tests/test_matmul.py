"""Products against float64, with bounds that follow from the formats."""

from __future__ import annotations

import pytest
import torch
import unisono_cpu as uc
from torch import Tensor

FORMATS = [
    ("f32", None),
    ("bf16", None),
    ("int8", None),
    ("int8", 32),
    ("int8", 128),
    ("int4", 32),
    ("int4", 64),
    ("int4", 128),
    ("int4z", 32),
    ("int4z", 128),
]
SHIFTED = [("int8s", 16), ("int8s", 32), ("int4s", 32), ("int4s", 128), ("int8", 16)]
"""Formats that take levels alone."""
ROWS = [1, 2, 3, 7, 8, 16, 17, 33]


def packed_levels(
    shape: tuple[int, int], format: str, group: int, scale_dtype: torch.dtype = torch.float16
) -> uc.PackedWeight:
    num_levels = 16 if "4" in format else 256
    scales = torch.rand(shape[0], -(-shape[1] // group)) / num_levels
    scales = scales.to(scale_dtype).float()
    shifts = (-8 * scales).to(scale_dtype).float() if format.endswith("s") else None
    levels = torch.randint(num_levels, shape, dtype=torch.uint8)
    return uc.pack_levels(levels, scales, format, group, shifts=shifts, scale_dtype=scale_dtype)


SHAPES = [(96, 128), (33, 70), (16, 300), (250, 31)]


def half_levels(x: Tensor, group: int = 128) -> Tensor:
    """Largest rounding error of each int8 activation: half of its 128 columns' largest / 127."""
    cols = x.shape[1]
    padded = torch.nn.functional.pad(x.double(), (0, -cols % group)).view(x.shape[0], -1, group)
    half = padded.abs().amax(-1, keepdim=True) / 254
    return half.expand_as(padded).flatten(1)[:, :cols]


def bound(x: Tensor, weight: Tensor, bias: Tensor, format: str) -> Tensor:
    """The error an output may have: float32 additions, and the rounding of x by the format."""
    additions = (x.abs() @ weight.abs().T + bias.abs()) * (x.shape[1] + 8) * 2.0**-24
    if format in ("f32", "bf16"):
        return additions
    return additions + 1.001 * half_levels(x) @ weight.abs().T


@pytest.mark.parametrize(("format", "group"), FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_linear(
    isa: str, format: str, group: int | None, shape: tuple[int, int], dtype: torch.dtype
) -> None:
    check_product(uc.pack(torch.randn(shape), format, group), dtype)


@pytest.mark.parametrize(("format", "group"), SHIFTED)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale_dtype", [torch.float16, torch.float32, torch.bfloat16])
def test_linear_of_levels(
    isa: str, format: str, group: int, shape: tuple[int, int], scale_dtype: torch.dtype
) -> None:
    check_product(packed_levels(shape, format, group, scale_dtype), torch.bfloat16)


@pytest.mark.parametrize("group", [16, 32])
def test_bytes_with_few_levels_are_as_exact(isa: str, group: int) -> None:
    """Types of 2 bits become bytes with levels 0 to 3. The middle of all bytes is far from them
    and must not magnify the rounding of activations."""
    levels = torch.randint(4, (48, 256), dtype=torch.uint8)
    scales = torch.rand(48, 256 // group).bfloat16().float()
    check_product(
        uc.pack_levels(levels, scales, "int8s", group, shifts=-1.5 * scales,
                       scale_dtype=torch.float32),
        torch.float32,
    )  # fmt: skip


def check_product(packed: uc.PackedWeight, dtype: torch.dtype) -> None:
    """Compare all numbers of rows with float64."""
    shape, format = packed.shape, packed.format
    weight, bias = packed.unpack().double(), torch.randn(shape[0])
    for rows in ROWS:
        x = torch.randn(rows, shape[1]).to(dtype)
        seen = x.bfloat16().double() if format == "bf16" else x.double()
        expected = seen @ weight.T + bias.double()
        out = uc.linear(x, packed, bias, dtype=torch.float32)
        limit = bound(seen, weight, bias.double(), format)
        assert ((out.double() - expected).abs() <= limit).all()
        rounded = uc.linear(x, packed, bias, dtype=torch.bfloat16)
        assert torch.equal(rounded, out.bfloat16())


@pytest.mark.parametrize(("format", "group"), [*FORMATS, *SHIFTED])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_row_does_not_depend_on_the_others(
    isa: str, format: str, group: int | None, threads: int
) -> None:
    by_levels = (format, group) in SHIFTED
    packed = (
        packed_levels((100, 288), format, group or 0)
        if by_levels
        else uc.pack(torch.randn(100, 288), format, group)
    )
    x = torch.randn(512, 288).bfloat16()
    uc.set_threads(threads)
    alone = torch.cat([uc.linear(row, packed) for row in x[:40].split(1)])
    for rows in (2, 3, 5, 6, 7, 8, 9, 12, 13, 25, 40, 512):
        assert torch.equal(uc.linear(x[:rows], packed)[:40], alone[:rows])


@pytest.mark.parametrize(("format", "group"), FORMATS[2:])
def test_integer_formats_agree_between_isas(format: str, group: int | None) -> None:
    packed = uc.pack(torch.randn(64, 256), format, group)
    x = torch.randn(5, 256)
    outputs = []
    for name in uc.available_isas():
        uc.set_isa(name)
        outputs.append(uc.linear(x, packed))
    for output in outputs:
        assert torch.allclose(output, outputs[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("format", ["int8", "int4", "int4z", "int8s", "int4s"])
def test_extreme_levels_do_not_saturate(isa: str, format: str) -> None:
    most = 255 if "8" in format else 15
    shifts = torch.full((32, 2), -2.0) if format.endswith("s") else None
    zeros = torch.zeros(32, 2, dtype=torch.uint8) if format == "int4z" else None
    for level in (0, most):
        levels = torch.full((32, 64), level, dtype=torch.uint8)
        packed = uc.pack_levels(levels, torch.ones(32, 2), format, 32, zeros=zeros, shifts=shifts)
        for sign in (1.0, -1.0):
            x = torch.full((7, 64), 127.0 * sign)
            expected = x.double() @ packed.unpack().double().T
            assert torch.equal(uc.linear(x, packed).double(), expected)


@pytest.mark.parametrize(("format", "group"), FORMATS)
def test_zero_and_huge_activations(isa: str, format: str, group: int | None) -> None:
    packed = uc.pack(torch.randn(40, 128), format, group)
    assert torch.equal(uc.linear(torch.zeros(3, 128), packed), torch.zeros(3, 40))
    x = torch.randn(3, 128) * 1e30
    expected = x @ packed.unpack().T
    assert torch.allclose(uc.linear(x, packed), expected, rtol=0.05, atol=1e30)
    tiny = uc.linear(torch.full((1, 128), 1e-38), packed)
    assert tiny.isfinite().all()


@pytest.mark.parametrize(("format", "group"), FORMATS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_shows(isa: str, format: str, group: int | None, bad: float) -> None:
    packed = uc.pack(torch.randn(40, 128), format, group)
    x = torch.randn(4, 128)
    x[2, 5] = bad
    out = uc.linear(x, packed)
    assert out[[0, 1, 3]].isfinite().all()
    assert not out[2].isfinite().any()


@pytest.mark.parametrize(("format", "group"), [("bf16", None), ("int8", None), ("int4", 32)])
def test_large(isa: str, format: str, group: int | None) -> None:
    packed = uc.pack(torch.randn(160, 512) * 0.05, format, group)
    x = torch.randn(512, 512).bfloat16()
    expected = x.double() @ packed.unpack().double().T
    error = (uc.linear(x, packed).double() - expected).norm() / expected.norm()
    assert error < (0.003 if format == "bf16" else 0.01)


@pytest.mark.parametrize(("format", "group"), [("f32", None), ("bf16", None), ("int4", 32)])
@pytest.mark.parametrize("rows", [1, 2, 19])
def test_mlp(isa: str, format: str, group: int | None, rows: int) -> None:
    gate_up = uc.pack(torch.randn(2 * 96, 64) * 0.2, format, group)
    down = uc.pack(torch.randn(64, 96) * 0.2, format, group)
    x = torch.randn(rows, 64)
    out = uc.mlp(x, gate_up, down)
    gates, downs = gate_up.unpack().double(), down.unpack().double()
    gate, up = (x.double() @ gates.T).chunk(2, -1)
    gate_off, up_off = product_off(x.double(), gates, format).chunk(2, -1)
    hidden = torch.nn.functional.silu(gate) * up
    # silu is nowhere steeper than 1.1, and computed to 20 bits
    off = 1.1 * gate_off * (up.abs() + up_off) + torch.nn.functional.silu(gate).abs() * up_off
    off = off + hidden.abs() * 2.0**-20
    bound = off @ downs.abs().T + product_off(hidden.abs() + off, downs, format)
    assert ((out.double() - hidden @ downs.T).abs() <= bound).all()


def product_off(x: Tensor, weight: Tensor, format: str) -> Tensor:
    """The error of a product: x as the format rounds it, and float32 additions."""
    rounding = {"f32": 0.0 * x, "bf16": x.abs() * 2.0**-9}
    off = rounding[format] if format in rounding else 1.001 * half_levels(x)
    additions = (x.abs() @ weight.abs().T) * (x.shape[1] + 8) * 2.0**-24
    return off @ weight.abs().T + additions


def test_shapes_and_views() -> None:
    packed = uc.pack(torch.randn(40, 64), "bf16")
    x = torch.randn(2, 3, 64)
    assert uc.linear(x, packed).shape == (2, 3, 40)
    assert uc.linear(x[:0], packed).shape == (0, 3, 40)
    wide = torch.randn(5, 100)
    assert torch.equal(uc.linear(wide[:, :64], packed), uc.linear(wide[:, :64].clone(), packed))
    for bad in (torch.randn(3, 65), torch.randn(3, 64).double(), torch.zeros(3, 64).int()):
        with pytest.raises(ValueError, match="x"):
            uc.linear(bad, packed)
    with pytest.raises(ValueError, match="bias"):
        uc.linear(x, packed, torch.zeros(39))
