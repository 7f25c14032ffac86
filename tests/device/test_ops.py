"""Every op of every hardware here against the portable reference, and the reference against
plain definitions."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from unisono.core import uniform
from unisono.hardware import AttentionStep, Hardware, PortableOps, discover, find_hardware

REFERENCE = PortableOps()
PRESENT = [report.name for report in discover() if report.present]
DTYPES = [torch.float32, torch.bfloat16]


@pytest.fixture(params=PRESENT)
def hardware(request: pytest.FixtureRequest) -> Hardware:
    return find_hardware(request.param)


def close(ours: torch.Tensor, reference: torch.Tensor, terms: int) -> bool:
    """Within the rounding of a sum of ``terms`` products, relative to the largest entry."""
    bound = 2 * math.sqrt(terms) * torch.finfo(ours.dtype).eps
    return bool((ours.double() - reference.double()).abs().max() <= bound * reference.abs().max())


def normal(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "n", "k"), [(1, 7, 5), (1, 256, 128), (3, 100, 64), (70, 48, 96)])
@pytest.mark.parametrize("bias", [False, True])
def test_linear(hardware: Hardware, dtype: torch.dtype, m: int, n: int, k: int, bias: bool) -> None:
    x, weight = normal(m, k, dtype=dtype), normal(n, k, dtype=dtype, seed=1)
    offset = normal(n, dtype=dtype, seed=2) if bias else None
    prepared = hardware.ops.prepare_linear(weight.clone().to(hardware.device))
    on_device = None if offset is None else offset.to(hardware.device)
    ours = hardware.ops.linear(x.to(hardware.device), prepared, on_device)
    expected = x.double() @ weight.double().T + (0 if offset is None else offset.double())
    assert ours.dtype == dtype
    assert close(ours.cpu(), expected, k)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 64), (5, 3, 96), (2, 1)])
def test_rms_norm(hardware: Hardware, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    x, weight = normal(*shape, dtype=dtype), normal(shape[-1], dtype=dtype, seed=1)
    x64 = x.double()
    expected = x64 / (x64.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * weight.double()
    ours = hardware.ops.rms_norm(x.to(hardware.device), weight.to(hardware.device), 1e-5)
    assert close(ours.cpu(), expected, 4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_add_rms_norm(hardware: Hardware, dtype: torch.dtype) -> None:
    x, residual, weight = (normal(4, 32, dtype=dtype, seed=s) for s in range(3))
    ours = hardware.ops.add_rms_norm(
        x.to(hardware.device), residual.to(hardware.device), weight[0].to(hardware.device), 1e-6
    )
    expected = REFERENCE.add_rms_norm(x, residual, weight[0], 1e-6)
    for mine, reference in zip(ours, expected, strict=True):
        assert close(mine.cpu(), reference, 4)
    normed, stream = hardware.ops.add_rms_norm(
        x.to(hardware.device), None, weight[0].to(hardware.device), 1e-6
    )
    assert torch.equal(stream.cpu(), x)
    assert close(normed.cpu(), REFERENCE.rms_norm(x, weight[0], 1e-6), 4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_silu_mul(hardware: Hardware, dtype: torch.dtype) -> None:
    x = normal(3, 34, dtype=dtype)
    gate, up = x.double().chunk(2, -1)
    assert close(hardware.ops.silu_mul(x.to(hardware.device)).cpu(), gate * gate.sigmoid() * up, 4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rotary", [16, 8])
@pytest.mark.parametrize("inference", [True, False])
def test_rope_is_a_rotation_of_pairs(
    hardware: Hardware, dtype: torch.dtype, rotary: int, inference: bool
) -> None:
    x = normal(5, 3, 16, dtype=dtype)
    angles = torch.arange(5).double().unsqueeze(1) * torch.rand(rotary // 2).double()
    with torch.inference_mode(inference):
        ours = hardware.ops.rope(
            x.to(hardware.device),
            angles.cos().float().to(hardware.device),
            angles.sin().float().to(hardware.device),
        ).cpu()
    half = rotary // 2
    pairs = torch.complex(x[..., :half].double(), x[..., half:rotary].double())
    turned = pairs * torch.polar(torch.ones_like(angles), angles).unsqueeze(1)
    expected = torch.cat((turned.real, turned.imag, x[..., rotary:].double()), -1)
    assert close(ours, expected, 4)


# -- attention --------------------------------------------------------------------------------


def paged(
    lens: list[tuple[int, int]], *, block_size: int, window: int | None, scattered: bool
) -> tuple[AttentionStep, int]:
    """A step of rows (queries, context) over blocks side by side or scattered."""
    counts = [-(-context // block_size) for _, context in lens]
    total = sum(counts) + 1
    order = list(range(1, total))
    if scattered:
        order = (
            torch.randperm(total - 1, generator=torch.Generator().manual_seed(7)).add(1).tolist()
        )
    blocks = iter(order)
    tables = [list(itertools.islice(blocks, count)) for count in counts]
    slots = [
        table[p // block_size] * block_size + p % block_size
        for table, (queries, context) in zip(tables, lens, strict=True)
        for p in range(context - queries, context)
    ]
    step = AttentionStep(
        query_lens=[queries for queries, _ in lens],
        context_lens=[context for _, context in lens],
        block_tables=tables,
        slots=torch.tensor(slots),
        block_size=block_size,
        window=window,
    )
    return step, total


def by_definition(
    query: torch.Tensor,
    kv: torch.Tensor,
    step: AttentionStep,
    scale: float,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """One query and one head at a time, in float64."""
    flat = kv.double().flatten(1, 2)
    groups = query.shape[1] // kv.shape[3]
    out, at = [], 0
    for queries, context, table in zip(
        step.query_lens, step.context_lens, step.block_tables, strict=True
    ):
        for i in range(queries):
            position = context - queries + i
            first = 0 if step.window is None else max(0, position - step.window + 1)
            seen = [
                table[p // step.block_size] * step.block_size + p % step.block_size
                for p in range(first, position + 1)
            ]
            heads = []
            for head in range(query.shape[1]):
                keys, values = flat[0, seen, head // groups], flat[1, seen, head // groups]
                scores = keys @ query[at, head].double() * scale
                if softcap is not None:
                    scores = softcap * torch.tanh(scores / softcap)
                if sinks is not None:
                    scores = torch.cat((scores, sinks[head].double().view(1)))
                heads.append(scores.softmax(0)[: len(seen)] @ values)
            out.append(torch.stack(heads))
            at += 1
    return torch.stack(out)


ROWS = [(1, 1), (1, 9), (7, 7), (3, 12), (1, 33), (16, 16), (5, 40)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scattered", [False, True])
@pytest.mark.parametrize("window", [None, 1, 4, 5, 100])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 2), (3, 3), (4, 1)])
def test_attention(
    hardware: Hardware,
    dtype: torch.dtype,
    scattered: bool,
    window: int | None,
    heads: int,
    kv_heads: int,
) -> None:
    check_attention(hardware, dtype, scattered, window, heads, kv_heads)


@pytest.mark.parametrize("options", [{"softcap": 2.0}, {"sinks": True}])
def test_attention_with_soft_cap_or_sinks(hardware: Hardware, options: dict[str, float]) -> None:
    sinks = normal(4, seed=9) if options.get("sinks") else None
    check_attention(
        hardware, torch.float32, True, 5, 4, 2, softcap=options.get("softcap"), sinks=sinks
    )


def check_attention(
    hardware: Hardware,
    dtype: torch.dtype,
    scattered: bool,
    window: int | None,
    heads: int,
    kv_heads: int,
    softcap: float | None = None,
    sinks: torch.Tensor | None = None,
) -> None:
    size = 8
    step, num_blocks = paged(ROWS, block_size=4, window=window, scattered=scattered)
    num_queries = sum(step.query_lens)
    kv = torch.full((2, num_blocks, 4, kv_heads, size), float("nan"), dtype=dtype)
    for table in step.block_tables:
        kv[:, table] = normal(2, len(table), 4, kv_heads, size, dtype=dtype, seed=len(table))
    query = normal(num_queries, heads, size, dtype=dtype, seed=3)
    key, value = (normal(num_queries, kv_heads, size, dtype=dtype, seed=s) for s in (4, 5))
    device_kv = kv.to(hardware.device)
    step.slots = step.slots.to(hardware.device)
    hardware.ops.kv_write(device_kv, key.to(hardware.device), value.to(hardware.device), step.slots)
    REFERENCE.kv_write(kv, key, value, step.slots.cpu())
    assert torch.equal(device_kv.cpu().nan_to_num(), kv.nan_to_num())
    step.plan = hardware.ops.plan_attention(step, device_kv)
    ours = hardware.ops.attention(
        query.to(hardware.device),
        device_kv,
        step,
        scale=0.3,
        softcap=softcap,
        sinks=None if sinks is None else sinks.to(hardware.device),
    )
    expected = by_definition(query, kv, step, 0.3, softcap, sinks)
    assert ours.dtype == dtype
    assert close(ours.cpu(), expected, 40)
    step.plan = REFERENCE.plan_attention(step, kv)
    reference = REFERENCE.attention(query, kv, step, scale=0.3, softcap=softcap, sinks=sinks)
    assert close(reference, expected, 4)


def test_attention_ignores_blocks_that_a_window_left(hardware: Hardware) -> None:
    step, num_blocks = paged([(1, 20)], block_size=4, window=3, scattered=False)
    kv = normal(2, num_blocks, 4, 2, 8)
    query = normal(1, 2, 8, seed=1)
    expected = by_definition(query, kv, step, 1.0, None, None)
    kv[:, :4] = float("nan")
    step.block_tables = [[0, 0, 0, 0, *step.block_tables[0][4:]]]
    for ops in (hardware.ops, REFERENCE):
        step.plan = ops.plan_attention(step, kv.to(hardware.device))
        ours = ops.attention(query.to(hardware.device), kv.to(hardware.device), step, scale=1.0)
        assert close(ours.cpu(), expected, 8)


# -- choosing tokens --------------------------------------------------------------------------

FILTERS = [
    (0, 1.0, 0.0),
    (1, 1.0, 0.0),
    (7, 1.0, 0.0),
    (127, 1.0, 0.0),
    (500, 1.0, 0.0),
    (10**6, 1.0, 0.0),
    (0, 0.3, 0.0),
    (0, 0.9, 0.0),
    (0, 0.9999, 0.0),
    (0, 1e-6, 0.0),
    (0, 1.0, 0.1),
    (20, 0.8, 0.05),
    (400, 0.99, 1.0),
]


@pytest.mark.parametrize("vocab_size", [11, 600, 40_000, 151_936])
@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_filter_logits(hardware: Hardware, vocab_size: int, spread: float) -> None:
    logits = normal(len(FILTERS), vocab_size) * spread
    logits[:, 5:9] = logits.max()
    top_k, top_p, min_p = (list(column) for column in zip(*FILTERS, strict=True))
    ours = hardware.ops.filter_logits(
        logits.to(hardware.device), top_k=top_k, top_p=top_p, min_p=min_p
    ).cpu()
    expected = REFERENCE.filter_logits(logits, top_k=top_k, top_p=top_p, min_p=min_p)
    assert torch.equal(ours, expected)
    for row, (k, p, m), before in zip(expected, FILTERS, logits, strict=True):
        kept = torch.isfinite(row)
        assert kept[before.argmax()]
        if k == 0 and m == 0.0 and p < 1.0:
            check_nucleus(before, kept, p)
        if 0 < k < vocab_size and p == 1.0:
            assert kept.sum() >= k
            assert (before > before[kept].min()).sum() < k


def check_nucleus(logits: torch.Tensor, kept: torch.Tensor, top_p: float) -> None:
    probabilities = logits.double().softmax(0)
    assert probabilities[kept].sum() >= top_p - 1e-5
    smallest = probabilities[kept].min()
    assert probabilities[probabilities > smallest].sum() < top_p + 1e-5


@pytest.mark.parametrize("vocab_size", [11, 600, 40_000, 151_936])
@pytest.mark.parametrize("spread", [0.0, 0.1, 3.0])
def test_draw_is_sampling_from_the_filtered(
    hardware: Hardware, vocab_size: int, spread: float
) -> None:
    """Up to rounding: the drawn token, or a neighbour at the same cumulative probability."""
    logits = normal(len(FILTERS), vocab_size) * spread
    columns = {
        name: list(column)
        for name, column in zip(
            ("top_k", "top_p", "min_p"), zip(*FILTERS, strict=True), strict=True
        )
    }
    filtered = REFERENCE.filter_logits(logits, **columns)
    cumulative = filtered.double().softmax(-1).cumsum(-1)
    for seed in range(8):
        uniforms = torch.tensor([uniform(seed, i) for i in range(len(FILTERS))])
        chosen = hardware.ops.draw(
            logits.to(hardware.device), uniforms.to(hardware.device), **columns
        ).cpu()
        for i, token_id in enumerate(chosen.tolist()):
            assert torch.isfinite(filtered[i, token_id])
            below = cumulative[i, token_id - 1] if token_id else 0.0
            assert below - 1e-5 <= uniforms[i] <= cumulative[i, token_id] + 1e-5


@pytest.mark.parametrize("vocab_size", [1, 63, 64, 1000])
def test_argmax_is_the_first_largest(hardware: Hardware, vocab_size: int) -> None:
    logits = normal(9, vocab_size).round()
    assert torch.equal(hardware.ops.argmax(logits.to(hardware.device)).cpu(), logits.argmax(-1))


@pytest.mark.parametrize("vocab_size", [3, 512, 1000, 151_936])
def test_sample_is_the_inverse_cdf(hardware: Hardware, vocab_size: int) -> None:
    logits = normal(40, vocab_size) * 2
    logits[:, ::3] = float("-inf")
    logits[:, 1] = 1.0
    uniforms = torch.tensor([uniform(11, i) for i in range(40)], dtype=torch.float64)
    uniforms[0], uniforms[1] = 0.0, 1.0 - 2.0**-53
    chosen = hardware.ops.sample(logits.to(hardware.device), uniforms.to(hardware.device)).cpu()
    cumulative = logits.double().softmax(-1).cumsum(-1)
    rows = torch.arange(40)
    assert torch.isfinite(logits[rows, chosen]).all()
    assert (cumulative[rows, chosen] >= uniforms - 1e-5).all()
    below = torch.where(chosen > 0, cumulative[rows, (chosen - 1).clamp(min=0)], 0.0)
    assert (below <= uniforms + 1e-5).all()


def test_sample_follows_the_distribution(hardware: Hardware) -> None:
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().expand(4000, 4)
    uniforms = torch.tensor([uniform(3, i) for i in range(4000)], dtype=torch.float64)
    chosen = hardware.ops.sample(logits.to(hardware.device), uniforms.to(hardware.device)).cpu()
    shares = torch.bincount(chosen, minlength=4) / 4000
    assert (shares - torch.tensor([0.1, 0.2, 0.3, 0.4])).abs().max() < 0.03
