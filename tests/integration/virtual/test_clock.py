"""The roofline clock, by hand: published figures of the H200 are in the spec ledger."""

from __future__ import annotations

import json

import pytest

from tests.integration.virtual.children import run
from tests.once import once
from unisono.hardware.specs import find_spec

PROGRAM = """
import json, sys, torch, unisono_virtual
unisono_virtual.install(chip=sys.argv[1] or None)
D = "virtual"
def cost(function):
    torch.accelerator.synchronize()
    unisono_virtual.reset()
    function()
    ops = {
        name: [total.calls, total.bytes, total.flops, total.seconds]
        for name, total in unisono_virtual.op_totals().items()
    }
    made = unisono_virtual.predict()
    return {"ops": ops, "seconds": made.seconds, "reason": made.reason}
def half(*shape):
    return torch.empty(*shape, dtype=torch.bfloat16, device=D)
a, b, c = half(1024, 1024), half(1024, 1024), half(1024)
table, ids = half(100000, 64), torch.arange(10, device=D)
cache, rows = half(100000, 64), half(10, 64)
image, kernel = half(2, 8, 16, 16), half(4, 8, 3, 3)
q = half(1, 4, 128, 64)
def events():
    first, last = (torch.Event(D, enable_timing=True) for _ in range(2))
    first.record(); a @ b; last.record()
    return first.elapsed_time(last)
side = torch.Stream(D)
def overlapped():
    with side:
        a @ b
    a @ b
def ordered():
    with side:
        a @ b
    torch.accelerator.current_stream().wait_stream(side)
    a @ b
print(json.dumps({
    "matmul": cost(lambda: a @ b),
    "row": cost(lambda: c[None] @ b),
    "view": cost(lambda: a.view(-1, 8).t()[3:][None]),
    "add": cost(lambda: a + b),
    "broadcast": cost(lambda: a + c),
    "add_": cost(lambda: a.add_(b)),
    "fill_": cost(lambda: a.fill_(1)),
    "embedding": cost(lambda: torch.nn.functional.embedding(ids, table)),
    "index_copy_": cost(lambda: cache.index_copy_(0, ids, rows)),
    "convolution": cost(lambda: torch.nn.functional.conv2d(image, kernel)),
    "attention": cost(lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q)),
    "double": cost(lambda: a.double() @ b.double()),
    "overlapped": cost(overlapped),
    "ordered": cost(ordered),
    "elapsed_ms": events(),
}))
"""

MATRIX = 1024 * 1024 * 2


@pytest.fixture(scope="module")
def h200(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    return once(tmp_path_factory, "h200", lambda: json.loads(run(PROGRAM, "h200")))


def totals(measured: dict, op: str) -> tuple[int, float, float, float]:
    return tuple(measured["ops"][op])


def rate(quantity: str) -> float:
    figure = find_spec("h200").base(quantity)
    assert figure is not None
    return figure


def test_a_large_product_is_bound_by_flops(h200: dict) -> None:
    flops = 2 * 1024**3
    expected = flops / rate("bf16")
    assert expected > 3 * MATRIX / rate("memory_bandwidth")
    assert totals(h200["matmul"], "mm") == (1, 3 * MATRIX, flops, pytest.approx(expected))
    assert h200["matmul"]["seconds"] == pytest.approx(expected)


def test_a_single_row_is_bound_by_bytes(h200: dict) -> None:
    moved = MATRIX + 2 * 1024 * 2
    expected = moved / rate("memory_bandwidth")
    assert totals(h200["row"], "mm") == (1, moved, 2 * 1024**2, pytest.approx(expected))


def test_views_cost_nothing(h200: dict) -> None:
    assert h200["view"]["ops"] == {}


@pytest.mark.parametrize(
    ("case", "op", "moved"),
    [
        ("add", "add", 3 * MATRIX),
        ("broadcast", "add", 2 * MATRIX + 1024 * 2),
        ("add_", "add", 3 * MATRIX),
        ("fill_", "fill_", MATRIX),
        ("embedding", "index_select", 2 * 10 * 64 * 2 + 10 * 8),
        ("index_copy_", "index_copy", 2 * 10 * 64 * 2 + 10 * 8),
    ],
)
def test_bytes_are_those_touched(h200: dict, case: str, op: str, moved: int) -> None:
    assert totals(h200[case], op)[1] == moved


def test_flops_of_convolution_and_attention(h200: dict) -> None:
    assert totals(h200["convolution"], "convolution")[2] == 2 * (2 * 4 * 14 * 14) * (8 * 3 * 3)
    assert totals(h200["attention"], "attention")[2] == 4 * 4 * 128 * 128 * 64


def test_streams_overlap_until_one_waits(h200: dict) -> None:
    once = h200["matmul"]["seconds"]
    assert h200["overlapped"]["seconds"] == pytest.approx(once)
    assert h200["ordered"]["seconds"] == pytest.approx(2 * once)


def test_events_measure_simulated_time(h200: dict) -> None:
    assert h200["elapsed_ms"] == pytest.approx(h200["matmul"]["seconds"] * 1e3)


def test_an_unknown_rate_is_never_guessed(h200: dict) -> None:
    assert h200["double"]["seconds"] is None
    assert "Double" in h200["double"]["reason"]


@pytest.mark.parametrize(("chip", "why"), [("br106", "bandwidth"), ("", "no chip")])
def test_without_figures_there_is_no_prediction(chip: str, why: str) -> None:
    measured = json.loads(run(PROGRAM, chip))
    assert measured["matmul"]["seconds"] is None
    assert why in measured["matmul"]["reason"]
    assert measured["elapsed_ms"] > 0
    assert totals(measured["matmul"], "mm")[1:3] == (3 * MATRIX, 2 * 1024**3)
