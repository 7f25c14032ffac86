"""All layers in one call against the same layers from the reference ops."""

from __future__ import annotations

import pytest
import torch
import unisono_cpu as uc
from torch import Tensor
from unisono_cpu.library import native

from unisono.core.errors import InsufficientMemoryError
from unisono.hardware import AttentionStep, PortableOps

REFERENCE = PortableOps()
SHAPE = uc.DecoderShape(
    hidden=64, inner=96, num_heads=4, num_kv_heads=2, head_dim=32, rotary_half=16, eps=1e-6,
    scale=32**-0.5,
)  # fmt: skip
NUM_LAYERS, BLOCK, NUM_BLOCKS = 3, 16, 140


def make_layer(format: str, group: int | None, *, plain: bool = False) -> uc.LayerWeights:
    def packed(rows: int, cols: int) -> uc.PackedWeight:
        return uc.pack(torch.randn(rows, cols) * 0.1, format, group)

    extra: dict[str, Tensor] = {}
    if plain:
        extra = {"qkv_bias": torch.randn(256) * 0.1, "down_bias": torch.randn(64) * 0.1}
    else:
        extra = {"q_norm": torch.rand(32) + 0.5, "k_norm": torch.rand(32) + 0.5}
    return uc.LayerWeights(
        input_norm=torch.rand(64) + 0.5,
        post_norm=torch.rand(64) + 0.5,
        qkv=packed(256, 64),
        output=packed(64, 128),
        gate_up=packed(192, 64),
        down=packed(64, 96),
        **extra,
    )


def rope_for(positions: Tensor) -> tuple[Tensor, Tensor]:
    angles = positions.float().unsqueeze(1) / 10 ** torch.arange(0, 2, 1 / 8)
    return angles.cos(), angles.sin()


class Batch:
    """Rows with scattered blocks; ``queries`` of each context are this step's."""

    def __init__(self, rows: list[tuple[int, int]], window: int | None = None) -> None:
        self.lens, self.contexts = [n for n, _ in rows], [c for _, c in rows]
        free = torch.randperm(NUM_BLOCKS).tolist()
        self.tables = [[free.pop() for _ in range(-(-c // BLOCK))] for c in self.contexts]
        places = [
            (position, table[position // BLOCK] * BLOCK + position % BLOCK)
            for (queries, context), table in zip(rows, self.tables, strict=True)
            for position in range(context - queries, context)
        ]
        self.positions = torch.tensor([position for position, _ in places])
        self.slots = torch.tensor([slot for _, slot in places])
        self.window = window

    def native(self) -> uc.PagedStep:
        return uc.PagedStep(self.lens, self.contexts, self.tables, self.slots, self.window)

    def portable(self, kv: Tensor) -> AttentionStep:
        step = AttentionStep(
            query_lens=self.lens, context_lens=self.contexts, block_tables=self.tables,
            slots=self.slots, block_size=BLOCK, window=self.window,
        )  # fmt: skip
        step.plan = REFERENCE.plan_attention(step, kv)
        return step


def reference_layer(
    layer: uc.LayerWeights, x: Tensor, residual: Tensor | None, batch: Batch, kv: Tensor
) -> tuple[Tensor, Tensor]:
    def linear(x: Tensor, weight: uc.PackedWeight, bias: Tensor | None) -> Tensor:
        return REFERENCE.linear(x, weight.unpack(), bias)

    x, residual = REFERENCE.add_rms_norm(x, residual, layer.input_norm, SHAPE.eps)
    norms = None if layer.q_norm is None else (layer.q_norm, layer.k_norm, SHAPE.eps)
    query, key, value = REFERENCE.rotary_heads(
        linear(x, layer.qkv, layer.qkv_bias), 4, 2, rope_for(batch.positions), norms
    )
    REFERENCE.kv_write(kv, key, value, batch.slots)
    out = REFERENCE.attention(query, kv, batch.portable(kv), scale=SHAPE.scale)
    x = linear(out.flatten(1), layer.output, layer.output_bias)
    x, residual = REFERENCE.add_rms_norm(x, residual, layer.post_norm, SHAPE.eps)
    x = REFERENCE.silu_mul(linear(x, layer.gate_up, layer.gate_up_bias))
    return linear(x, layer.down, layer.down_bias), residual


def caches(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.randn(2, NUM_BLOCKS, BLOCK, 2, 32).to(dtype) for _ in range(NUM_LAYERS)]


BATCHES = [
    [(1, 1)],
    [(1, 40)],
    [(20, 20)],
    [(1, 9), (1, 33), (1, 17)],
    [(30, 50), (1, 12)],
    [(1, 1100), (3, 1026)],
]
LIMITS = {"f32": 1e-5, "bf16": 0.02, "int8": 0.04, "int4": 0.04}


@pytest.mark.parametrize(
    ("format", "group"), [("f32", None), ("bf16", None), ("int8", None), ("int4", 32)]
)
@pytest.mark.parametrize("rows", BATCHES)
def test_decoder(isa: str, format: str, group: int | None, rows: list[tuple[int, int]]) -> None:
    layers = [make_layer(format, group, plain=i == 1) for i in range(NUM_LAYERS)]
    final = torch.rand(64) + 0.5
    decoder = uc.NativeDecoder(SHAPE, layers, final)
    whole, windowed = Batch(rows), Batch(rows, window=8)
    windowed.tables, windowed.slots = whole.tables, whole.slots
    batches = [whole, windowed, whole]
    dtype = torch.float32 if format == "f32" else torch.bfloat16
    kv = caches(dtype)
    ours = [cache.clone() for cache in kv]
    x = torch.randn(len(whole.slots), 64)
    native = {id(batch): batch.native() for batch in batches}
    out, stream = decoder.run(
        x, rope_for(whole.positions), [native[id(batch)] for batch in batches], ours
    )
    assert stream is None
    expected, residual = x, None
    for layer, batch, cache in zip(layers, batches, kv, strict=True):
        cache32 = cache.float()
        expected, residual = reference_layer(layer, expected, residual, batch, cache32)
        cache.copy_(cache32)
    expected, _ = REFERENCE.add_rms_norm(expected, residual, final, SHAPE.eps)
    assert (out - expected).norm() / expected.norm() < LIMITS[format]
    for mine, theirs in zip(ours, kv, strict=True):
        assert (mine.float() - theirs.float()).norm() / theirs.float().norm() < LIMITS[format]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layer_by_layer_is_the_same(isa: str, dtype: torch.dtype) -> None:
    layers = [make_layer("f32", None) for _ in range(NUM_LAYERS)]
    final = torch.rand(64)
    batch = Batch([(5, 9), (1, 3)])
    step, rope = batch.native(), rope_for(batch.positions)
    x, kv = torch.randn(6, 64).to(dtype), caches()
    again = [cache.clone() for cache in kv]
    out, _ = uc.NativeDecoder(SHAPE, layers, final).run(x, rope, [step] * NUM_LAYERS, kv)
    branch, residual = x, None
    for layer, cache in zip(layers, again, strict=True):
        branch, residual = uc.NativeDecoder(SHAPE, [layer]).run(
            branch, rope, [step], [cache], residual
        )
    expected, _ = uc.add_rms_norm(branch, residual.float(), final, SHAPE.eps)
    tolerance = 1e-6 if dtype == torch.float32 else 0.05
    assert torch.allclose(out.float(), expected.float(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_ids_and_positions_for_rows_and_angles(isa: str, dtype: torch.dtype, scale: float) -> None:
    decoder = uc.NativeDecoder(SHAPE, [make_layer("f32", None)], torch.ones(64))
    batch = Batch([(3, 40), (1, 13)])
    frequencies = 1 / 10 ** torch.arange(0, 2, 1 / 8)
    angles = batch.positions.unsqueeze(1) * frequencies
    table, ids = torch.randn(50, 64).to(dtype), torch.tensor([7, 49, 0, 7])
    kv = caches()[:1]
    expected, _ = decoder.run(
        table[ids], (angles.cos() * scale, angles.sin() * scale), [batch.native()],
        [cache.clone() for cache in kv],
    )  # fmt: skip
    turns = uc.Turns(batch.positions, frequencies, scale)
    out, _ = decoder.run(uc.TableRows(table, ids), turns, [batch.native()], kv)
    assert out.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    assert torch.allclose(out.float(), expected.float(), rtol=tolerance, atol=tolerance)
    for wrong, match in (([7, 50, 0, 7], "token 50 of a table of 50"), ([-1] * 4, "token -1")):
        with pytest.raises(ValueError, match=match):
            decoder.run(uc.TableRows(table, torch.tensor(wrong)), turns, [batch.native()], kv)
    with pytest.raises(ValueError, match="positions must be"):
        decoder.run(table[ids], uc.Turns(batch.positions[:3], frequencies), [batch.native()], kv)
    with pytest.raises(ValueError, match="ids must be int64"):
        decoder.run(uc.TableRows(table, ids.int()), turns, [batch.native()], kv)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize(("format", "group"), [("bf16", None), ("int4", 32)])
def test_a_row_does_not_depend_on_the_batch(
    isa: str, threads: int, format: str, group: int | None
) -> None:
    decoder = uc.NativeDecoder(
        SHAPE, [make_layer(format, group) for _ in range(NUM_LAYERS)], torch.ones(64)
    )
    batch = Batch([(1, 1040), (20, 33), (1, 7)])
    x, kv = torch.randn(22, 64), caches(torch.bfloat16)
    uc.set_threads(1)
    together, _ = decoder.run(
        x, rope_for(batch.positions), [batch.native()] * NUM_LAYERS, [c.clone() for c in kv]
    )
    uc.set_threads(threads)
    alone = uc.PagedStep([1], [1040], batch.tables[:1], batch.slots[:1])
    out, _ = decoder.run(
        x[:1], rope_for(batch.positions[:1]), [alone] * NUM_LAYERS, [c.clone() for c in kv]
    )
    assert torch.equal(out, together[:1])


def test_weights_of_other_shapes_are_refused() -> None:
    layer = make_layer("f32", None)
    wrong = uc.LayerWeights(
        input_norm=layer.input_norm, post_norm=layer.post_norm, qkv=layer.output,
        output=layer.output, gate_up=layer.gate_up, down=layer.down,
    )  # fmt: skip
    with pytest.raises(ValueError, match="layer 1: qkv is 64 x 128"):
        uc.NativeDecoder(SHAPE, [layer, wrong])


def test_bad_steps_are_refused() -> None:
    decoder = uc.NativeDecoder(SHAPE, [make_layer("f32", None)], torch.ones(64))
    batch = Batch([(1, 5)])
    rope, kv = rope_for(batch.positions), torch.zeros(2, 2, BLOCK, 2, 32)
    with pytest.raises(ValueError, match="block"):
        decoder.run(torch.zeros(1, 64), rope, [uc.PagedStep([1], [5], [[7]], batch.slots)], [kv])
    step = uc.PagedStep([1], [5], [[1]], torch.tensor([99]))
    with pytest.raises(ValueError, match="slot"):
        decoder.run(torch.zeros(1, 64), rope, [step], [kv])
    with pytest.raises(ValueError, match="x must be"):
        decoder.run(torch.zeros(1, 63), rope, [batch.native()], [kv])
    with pytest.raises(ValueError, match="cos"):
        decoder.run(torch.zeros(2, 64), rope, [batch.native()], [kv])


def test_a_failed_allocation_is_an_error() -> None:
    decoder = uc.NativeDecoder(SHAPE, [make_layer("f32", None)], torch.ones(64))
    batch = Batch([(20, 20)])
    native.uc_release_workspace()
    native.uc_test_fail_allocation(0)
    try:
        with pytest.raises(InsufficientMemoryError, match="workspace"):
            decoder.run(
                torch.zeros(20, 64), rope_for(batch.positions), [batch.native()], caches()[:1]
            )
    finally:
        native.uc_test_fail_allocation(-1)
    decoder.run(torch.zeros(20, 64), rope_for(batch.positions), [batch.native()], caches()[:1])
