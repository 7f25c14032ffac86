"""Matrix products as training and attention use them: transposed, batched, into a sum."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from unisono.conformance import inputs
from unisono.conformance.context import Context
from unisono.conformance.expected.bounds import sum_error, underflow, unit_roundoff
from unisono.conformance.expected.comparing import Expected, exactly
from unisono.conformance.registry import check


def _scaled(a: Tensor, b: Tensor) -> Tensor:
    """a @ b by a product as attention has it: scaled, into NaN that does not count."""
    batches = a.unsqueeze(0), b.unsqueeze(0)
    half = torch.baddbmm(a.new_full((), torch.nan), *batches, beta=0, alpha=0.5)
    return 2 * half.squeeze(0)


_SHAPES = ((1, 5, 7), (16, 16, 16), (33, 65, 17), (128, 64, 256), (65, 130, 513), (1, 1024, 96))
_FORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "a @ b": lambda a, b: a @ b,
    "a.T stored transposed": lambda a, b: a.T.contiguous().T @ b,
    "b.T stored transposed": lambda a, b: a @ b.T.contiguous().T,
    "both stored transposed": lambda a, b: a.T.contiguous().T @ b.T.contiguous().T,
    "padded rows": lambda a, b: torch.nn.functional.pad(a, (0, 3))[:, : a.shape[1]] @ b,
    "batches": lambda a, b: (a.expand(3, -1, -1) @ b.expand(3, -1, -1))[2],
    "batches, own": lambda a, b: torch.bmm(torch.stack((a, -a)), torch.stack((b, b)))[0],
    "batches, scaled": _scaled,
    "einsum": lambda a, b: torch.einsum("mk,kn->nm", a, b).T,
}


@check("ops.matmul", "products of every form, against float64 with float32 sums")
def matmul(context: Context) -> None:
    for dtype in context.dtypes:
        for m, n, k in _SHAPES if context.quick else (*_SHAPES, (513, 1025, 768), (3, 7, 8192)):
            a, b = (
                inputs.normal(m, k, dtype=dtype, seed=1),
                inputs.normal(k, n, dtype=dtype, seed=2),
            )
            values = a.double() @ b.double()
            magnitudes = a.double().abs() @ b.double().abs()
            u = unit_roundoff(dtype)
            bound = sum_error(k) * (1 + u) * magnitudes + u * values.abs() + underflow(dtype)
            want = Expected(values, bound)
            on = context.put(a), context.put(b)
            for words, form in _FORMS.items():
                with context.case(f"{str(dtype)[6:]} {words}, M={m} N={n} K={k}"):
                    context.verify(
                        lambda f, on: f(*on),
                        want,
                        dtype=dtype,
                        given=(
                            form,
                            on,
                        ),
                    )
            with context.case(f"{str(dtype)[6:]} addmm, M={m} N={n} K={k}"):
                c = inputs.normal(m, n, dtype=dtype, seed=3)
                total = values + c.double()
                slack = bound + sum_error(k + 1) * (magnitudes + c.double().abs())
                want_sum = Expected(total, slack + u * total.abs())
                on_c = context.put(c)
                context.verify(
                    lambda on, c: torch.addmm(c, *on),
                    want_sum,
                    dtype=dtype,
                    given=(
                        on,
                        on_c,
                    ),
                )


@check("ops.matmul_exact", "float32 products keep 24 bits: sums of whole numbers are exact")
def matmul_exact(context: Context) -> None:
    """Sums of these lie below 2^24, so that any order of float32 additions gives them exactly;
    inputs that lose their last bits, as in formats with 10 bits of fraction, do not."""
    for m, n, k in ((1, 64, 512), (5, 33, 500), (64, 64, 512), (130, 67, 256)):
        a = inputs.integers(m, k, low=-4095, high=4095, seed=4)
        b = inputs.integers(k, n, low=-7, high=7, seed=5)
        want = exactly(a.double() @ b.double())
        on = context.put(a), context.put(b)
        for words in ("a @ b", "b.T stored transposed", "batches"):
            with context.case(f"{words}, M={m} N={n} K={k}"):
                form = _FORMS[words]
                context.verify(
                    lambda f, on: f(*on),
                    want,
                    dtype=torch.float32,
                    given=(
                        form,
                        on,
                    ),
                )
