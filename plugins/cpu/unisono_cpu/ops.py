"""The kernels over torch tensors. Every tensor is on the CPU; outputs are new unless said.

Shapes: M rows, K inputs, N outputs, T tokens, D head size, Hq/Hk query and key-value heads.
A wrong dtype, shape or stride is a ValueError.
"""

from __future__ import annotations

import ctypes
import time
from array import array
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unisono_cpu.library import Cache, Linear, Step, call, native
from unisono_cpu.weights import FORMATS, PackedWeight

DTYPES = {torch.bfloat16: 0, torch.float32: 1, torch.float16: 2}


# -- the library --------------------------------------------------------------------------------


def isa() -> str:
    """The instruction set in use."""
    return native.uc_isa().decode()


def set_isa(name: str | None) -> None:
    """Use one instruction set; None for the best. Raises ConfigError where it cannot be."""
    call("uc_set_isa", (name or "").encode())


_LONG_ENOUGH_S = 0.02


def threads() -> int:
    """Threads of the pool, the caller's included."""
    return native.uc_threads()


def set_threads(count: int) -> None:
    """Size of the pool from the next call on."""
    call("uc_set_threads", count)


def products_per_s(format: str) -> float:
    """Operations per second (a multiplication or an addition) of a format's products on all threads
    with everything in registers: the most that this instruction set can do."""
    operations, rounds, best = ctypes.c_double(), 1 << 14, 0.0
    for _ in range(8):
        began = time.perf_counter()
        call("uc_products", FORMATS[format], rounds, ctypes.byref(operations))
        seconds = time.perf_counter() - began
        best = max(best, operations.value / seconds)
        if seconds < _LONG_ENOUGH_S:
            rounds *= 4
    return best


def read(data: Tensor) -> None:
    """Read the memory of a tensor once, with all threads: what the kernels are measured against."""
    call("uc_read", data.data_ptr(), data.numel() * data.element_size(), None)


# -- checks -------------------------------------------------------------------------------------


def _activation(x: Tensor, name: str) -> int:
    if x.device.type != "cpu" or x.dtype not in (torch.bfloat16, torch.float32):
        raise ValueError(f"{name} is {x.dtype} on {x.device}; bfloat16 or float32 on the CPU.")
    return DTYPES[x.dtype]


def _rows(x: Tensor, name: str, size: int) -> tuple[Tensor, int, int]:
    """x [..., size] as rows: the tensor, its row count and its stride."""
    if x.shape[-1] != size:
        raise ValueError(f"{name} has {x.shape[-1]} columns, not {size}.")
    flat = x if x.dim() == 2 else x.reshape(-1, size)
    rows = flat.shape[0]
    if (size > 1 and flat.stride(1) != 1) or (rows > 1 and flat.stride(0) < size):
        flat = flat.contiguous()
    return flat, rows, flat.stride(0) if rows > 1 else size


def floats(x: Tensor | None, name: str, *shape: int) -> int | None:
    """The address of a float32 tensor of that shape."""
    if x is None:
        return None
    if x.dtype != torch.float32 or x.shape != shape or not x.is_contiguous():
        raise ValueError(f"{name} must be float32 {list(shape)}, contiguous.")
    return x.data_ptr()


def _contiguous(x: Tensor, name: str, *shape: int) -> int:
    if x.shape != shape or not x.is_contiguous():
        raise ValueError(f"{name} must be {list(shape)}, contiguous; is {list(x.shape)}.")
    return x.data_ptr()


def native_linear(weight: PackedWeight, bias: Tensor | None) -> Linear:
    """The structure that names a weight and its bias."""
    return Linear(weight.address, weight.num_bytes, floats(bias, "bias", weight.shape[0]))


# -- products -----------------------------------------------------------------------------------


def linear(
    x: Tensor, weight: PackedWeight, bias: Tensor | None = None, *, dtype: torch.dtype | None = None
) -> Tensor:
    """x [..., K] @ W^T + bias (float32 [N]) -> [..., N] in ``dtype`` (that of x)."""
    kind = _activation(x, "x")
    num_outputs, num_inputs = weight.shape
    flat, rows, stride = _rows(x, "x", num_inputs)
    out = torch.empty(*x.shape[:-1], num_outputs, dtype=dtype or x.dtype)
    call(
        "uc_multiply", native_linear(weight, bias), flat.data_ptr(), kind, stride, rows,
        out.data_ptr(), _activation(out, "dtype"), num_outputs,
    )  # fmt: skip
    return out


def mlp(
    x: Tensor,
    gate_up: PackedWeight,
    down: PackedWeight,
    gate_up_bias: Tensor | None = None,
    down_bias: Tensor | None = None,
) -> Tensor:
    """down(silu(gate x) * up x), all in one call."""
    kind = _activation(x, "x")
    flat, rows, stride = _rows(x, "x", gate_up.shape[1])
    out = torch.empty(*x.shape[:-1], down.shape[0], dtype=x.dtype)
    call(
        "uc_mlp", native_linear(gate_up, gate_up_bias), native_linear(down, down_bias),
        flat.data_ptr(), kind, stride, rows, out.data_ptr(), kind, down.shape[0],
    )  # fmt: skip
    return out


def experts(
    x: Tensor,
    ids: Tensor,
    weights: Tensor,
    held: Mapping[int, tuple[PackedWeight, PackedWeight]],
) -> Tensor:
    """The sum over a token's experts of weight * mlp(x), for x [T, H]: ids int64 [T, k], weights
    float32 [T, k], ``held`` gate_up and down of each expert that is named, all of one shape."""
    kind = _activation(x, "x")
    tokens, chosen = ids.shape
    if ids.dtype != torch.int64 or not ids.is_contiguous() or len(x) != tokens:
        raise ValueError(f"ids must be int64 [{len(x)}, k], contiguous.")
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    if tokens == 0:
        return out
    gate_up, down = next(iter(held.values()))
    if down.shape[0] != x.shape[-1]:
        raise ValueError(f"Experts give {down.shape[0]} columns, x has {x.shape[-1]}.")
    flat, _, stride = _rows(x, "x", gate_up.shape[1])
    count = max(held) + 1
    tables = (Linear * count)(), (Linear * count)()
    for index, pair in held.items():
        for table, weight in zip(tables, pair, strict=True):
            table[index].blob, table[index].bytes = weight.address, weight.num_bytes
    call(
        "uc_experts", *tables, count, ids.data_ptr(), floats(weights, "weights", tokens, chosen),
        tokens, chosen, flat.data_ptr(), kind, stride, out.data_ptr(), kind, down.shape[0],
    )  # fmt: skip
    return out


def embedding(token_ids: Tensor, weight: PackedWeight, *, dtype: torch.dtype) -> Tensor:
    """Rows of a packed table: int64 ids [T] -> [T, K]."""
    ids = token_ids.to(torch.int64).contiguous()
    out = torch.empty(*ids.shape, weight.shape[1], dtype=dtype)
    call(
        "uc_embed", weight.address, weight.num_bytes, ids.data_ptr(), ids.numel(),
        out.data_ptr(), _activation(out, "dtype"),
    )  # fmt: skip
    return out


# -- rows of a step -----------------------------------------------------------------------------


def add_rms_norm(
    x: Tensor, residual: Tensor | None, weight: Tensor, eps: float
) -> tuple[Tensor, Tensor | None]:
    """(norm(residual + x) * weight in x's dtype, the sum in float32); residual and weight are
    float32. Without a residual the sum is None: it is x."""
    kind, size = _activation(x, "x"), x.shape[-1]
    flat = x.contiguous()
    out = torch.empty_like(flat)
    total = None if residual is None else torch.empty_like(residual)
    call(
        "uc_add_rms_norm", flat.data_ptr(), kind, floats(residual, "residual", *x.shape),
        None if total is None else total.data_ptr(), floats(weight, "weight", size), eps,
        flat.numel() // size, size, out.data_ptr(), kind,
    )  # fmt: skip
    return out, total


def silu_mul(gate_up: Tensor) -> Tensor:
    """silu(first half) * second half of the last dimension."""
    kind = _activation(gate_up, "gate_up")
    size = gate_up.shape[-1] // 2
    if gate_up.shape[-1] != 2 * size or not size:
        raise ValueError("gate_up must have two halves.")
    flat = gate_up.contiguous()
    out = torch.empty(*gate_up.shape[:-1], size, dtype=gate_up.dtype)
    rows = flat.numel() // (2 * size)
    call("uc_silu_mul", flat.data_ptr(), kind, rows, size, out.data_ptr(), kind)
    return out


def rotary_heads(
    qkv: Tensor,
    num_heads: int,
    num_kv_heads: int,
    rope: tuple[Tensor, Tensor],
    norms: tuple[Tensor, Tensor, float] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """qkv [T, (Hq + 2 Hk) * D] -> query [T, Hq, D], key and value [T, Hk, D] (value a view);
    norms are float32 [D], [D] and eps."""
    kind = _activation(qkv, "qkv")
    qkv = qkv.contiguous()
    tokens, heads = qkv.shape[0], num_heads + 2 * num_kv_heads
    if qkv.shape[1] % heads:
        raise ValueError(f"qkv of {qkv.shape[1]} columns does not hold {heads} heads.")
    size, half = qkv.shape[1] // heads, rope[0].shape[-1]
    query_norm, key_norm, eps = norms if norms is not None else (None, None, 0.0)
    query = torch.empty(tokens, num_heads, size, dtype=qkv.dtype)
    key = torch.empty(tokens, num_kv_heads, size, dtype=qkv.dtype)
    call(
        "uc_rotary_heads", qkv.data_ptr(), kind, tokens, num_heads, num_kv_heads, size, half,
        floats(query_norm, "query norm", size), floats(key_norm, "key norm", size), eps,
        floats(rope[0], "cos", tokens, half), floats(rope[1], "sin", tokens, half),
        query.data_ptr(), key.data_ptr(), kind,
    )  # fmt: skip
    value = qkv.view(tokens, heads, size)[:, num_heads + num_kv_heads :]
    return query, key, value


# -- the paged cache ----------------------------------------------------------------------------


def cache_of(kv: Tensor) -> Cache:
    """The structure for kv [2, blocks, block_size, Hk, D], bfloat16 or float32, whose blocks may
    lie apart."""
    kind = _activation(kv, "kv")
    if kv.dim() != 5 or kv.shape[0] != 2 or not kv[0, 0].is_contiguous() or min(kv.stride()) < 0:
        raise ValueError("kv must be [2, blocks, block_size, Hk, D], each block contiguous.")
    _, blocks, block_size, heads, size = kv.shape
    to_value, to_block = (kv.element_size() * stride for stride in kv.stride()[:2])
    return Cache(kv.data_ptr(), blocks, kind, block_size, heads, size, to_block, to_value)


class PagedStep:
    """A step's rows as the library reads them; made once, used by every layer of a group."""

    def __init__(
        self,
        query_lens: Sequence[int],
        context_lens: Sequence[int],
        block_tables: Sequence[Sequence[int]],
        slots: Tensor | None,
        window: int | None = None,
    ) -> None:
        rows = len(query_lens)
        if len(context_lens) != rows or len(block_tables) != rows:
            raise ValueError("query_lens, context_lens and block_tables have one entry a row.")
        if window is not None and window < 1:
            raise ValueError("window must be at least 1, or None.")
        self.query_lens = (ctypes.c_int32 * rows)(*query_lens)
        self.context_lens = (ctypes.c_int32 * rows)(*context_lens)
        starts, blocks = [0], array("i")
        for table in block_tables:
            blocks.extend(table)
            starts.append(len(blocks))
        self.blocks = (ctypes.c_int32 * max(1, len(blocks))).from_buffer(blocks or array("i", [0]))
        self.table_starts = (ctypes.c_int64 * (rows + 1))(*starts)
        self.slots = None if slots is None else slots.to(torch.int64).contiguous()
        self.num_tokens = sum(query_lens)
        if self.slots is not None and self.slots.shape != (self.num_tokens,):
            raise ValueError(f"slots must be [{self.num_tokens}].")
        self.native = Step(
            rows, 0, self.num_tokens,
            ctypes.addressof(self.query_lens), ctypes.addressof(self.context_lens),
            ctypes.addressof(self.blocks), ctypes.addressof(self.table_starts),
            None if self.slots is None else self.slots.data_ptr(), window or 0,
        )  # fmt: skip


def kv_write(kv: Tensor, key: Tensor, value: Tensor, slots: Tensor) -> None:
    """Put key, value [T, Hk, D] at ``slots`` int64 [T] of kv."""
    cache = cache_of(kv)
    kind, tokens = _activation(key, "key"), key.shape[0]
    shape = (tokens, cache.num_kv_heads, cache.head_dim)
    if key.shape != shape or value.shape != shape or key.dtype != value.dtype:
        raise ValueError(f"key and value must be {list(shape)} of one dtype.")
    key, value = _packed_heads(key), _packed_heads(value)
    slots = slots.to(torch.int64).contiguous()
    if slots.shape != (tokens,):
        raise ValueError(f"slots must be [{tokens}].")
    step = Step(num_tokens=tokens, slots=slots.data_ptr())
    call(
        "uc_kv_write", cache, step, key.data_ptr(), value.data_ptr(), kind,
        key.stride(0), value.stride(0),
    )  # fmt: skip


def _packed_heads(x: Tensor) -> Tensor:
    """x [T, H, D] with heads and sizes adjacent; tokens may lie apart."""
    return x if x.stride(2) == 1 and x.stride(1) == x.shape[2] else x.contiguous()


def attention(
    query: Tensor,
    kv: Tensor,
    step: PagedStep,
    *,
    scale: float,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """Causal attention of query [T, Hq, D] over each row's blocks -> [T, Hq, D]."""
    cache, kind = cache_of(kv), _activation(query, "query")
    tokens, heads, size = query.shape
    if tokens != step.num_tokens or size != cache.head_dim:
        raise ValueError(f"query must be [{step.num_tokens}, Hq, {cache.head_dim}].")
    query = _packed_heads(query)
    out = torch.empty(tokens, heads, size, dtype=query.dtype)
    call(
        "uc_attention", cache, step.native, heads, scale, softcap or 0.0,
        floats(sinks, "sinks", heads), query.data_ptr(), kind, query.stride(0),
        out.data_ptr(), kind,
    )  # fmt: skip
    return out


# -- choosing tokens ----------------------------------------------------------------------------


def argmax(logits: Tensor) -> Tensor:
    """Index of the first largest of each row, float32 [R, V] -> int64 [R]."""
    rows, vocabulary = logits.shape
    ids = torch.empty(rows, dtype=torch.int64)
    call("uc_argmax", floats(logits, "logits", rows, vocabulary), rows, vocabulary, ids.data_ptr())
    return ids


def draw(
    logits: Tensor,
    uniforms: Tensor,
    *,
    top_k: Sequence[int],
    top_p: Sequence[float],
    min_p: Sequence[float],
) -> Tensor:
    """Filter as the reference's ``filter_logits``, then the inverse CDF in order of ids: float32
    [R, V] and uniforms [R] in [0, 1) -> int64 [R]."""
    rows, vocabulary = logits.shape
    if not rows == len(top_k) == len(top_p) == len(min_p) == uniforms.numel():
        raise ValueError("uniforms, top_k, top_p and min_p have one entry a row.")
    ids = torch.empty(rows, dtype=torch.int64)
    numbers = uniforms.to(torch.float64).contiguous()
    call(
        "uc_draw", floats(logits, "logits", rows, vocabulary), rows, vocabulary,
        numbers.data_ptr(), (ctypes.c_int32 * rows)(*top_k), (ctypes.c_float * rows)(*top_p),
        (ctypes.c_float * rows)(*min_p), ids.data_ptr(),
    )  # fmt: skip
    return ids


set_threads(torch.get_num_threads())
