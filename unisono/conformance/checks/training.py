"""A training step: loss, every gradient, optimizers, mixed precision."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unisono.conformance import inputs
from unisono.conformance.checks.model import prompt
from unisono.conformance.context import Context
from unisono.conformance.expected.bounds import U32
from unisono.conformance.expected.comparing import Expected, Mismatch, exactly
from unisono.conformance.expected.oracle import Oracle
from unisono.conformance.registry import check
from unisono.conformance.reproductions.scripts import expect
from unisono.conformance.tiny_model import SMALL, WINDOWED, write_checkpoint
from unisono.models.decoder import Decoder
from unisono.models.layers.linear import Linear
from unisono.models.loading import load_model
from unisono.models.training import without_cache

_TOKENS = 48


# -- the whole model --------------------------------------------------------------------------


@check("training.step", "loss and every gradient of a small model")
def step(context: Context) -> None:
    for words, shape in (("tied embeddings", SMALL), ("a window, not tied", WINDOWED)):
        with tempfile.TemporaryDirectory() as name, context.case(words):
            weights = write_checkpoint(Path(name), shape)
            model = _trainable(context, Path(name))
            wanted = Oracle.of(shape, weights, torch.float32).gradients(prompt(_TOKENS))
            names = sorted(wanted)
            want = tuple(wanted[one] for one in names)

            def run(model: Decoder = model, names: list[str] = names) -> tuple[Tensor, ...]:
                found = _backward(context, model)
                return tuple(found[one] for one in names)

            try:
                context.verify(run, want, dtype=(torch.float32,) * len(names))
            except Mismatch as mismatch:
                mismatch.detail = f"{_first_wrong(run(), want, names)}: {mismatch.detail}"
                raise


def _first_wrong(got: tuple[Tensor, ...], want: tuple[Expected, ...], names: list[str]) -> str:
    for mine, one, name in zip(got, want, names, strict=True):
        error = (mine.cpu().double() - one.values).abs()
        if not bool((error <= one.bound).all()):
            return "the loss" if name == "loss" else f"the gradient of {name}"
    return "a gradient"


def _trainable(context: Context, folder: Path) -> Decoder:
    return load_model(folder, context.hardware, dtype="float32", trainable=True).model


def _backward(context: Context, model: Decoder) -> dict[str, Tensor]:
    model.zero_grad()
    ids = context.put(torch.tensor(prompt(_TOKENS)))
    logits = model.logits(model(ids, without_cache(model, [_TOKENS], context.device)))
    loss = F.cross_entropy(logits[:-1], ids[1:])
    loss.backward()  # type: ignore[no-untyped-call]
    return {"loss": loss.detach(), **dict(_gradients(model))}


def _gradients(model: Decoder) -> Iterator[tuple[str, Tensor]]:
    """By checkpoint name."""
    for path, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if not isinstance(weight, Tensor) or weight.grad is None:
            continue
        if not isinstance(module, Linear):
            yield f"model.{path}.weight", weight.grad
            continue
        parent = path.rpartition(".")[0]
        for part in module.parts:
            name = f"model.{parent}.{part}.weight" if parent else f"{part}.weight"
            yield name, weight.grad[module.rows(part)]


# -- gradients that are exact ----------------------------------------------------------------

_STRUCTURAL: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "a @ b": lambda a, b: a @ b.T,
    "linear": lambda a, b: F.linear(a, b),
    "bmm": lambda a, b: torch.bmm(a.expand(3, -1, -1), b.T.expand(3, -1, -1)),
    "*": lambda a, b: a * b,
    "sum": lambda a, b: a.sum(0) * b.sum(1, keepdim=True),
    "amax": lambda a, b: a.amax(-1) * b.sum(),
    "relu": lambda a, b: a.relu() + b,
    "abs": lambda a, b: a.abs() * b.abs(),
    "cat and split": lambda a, b: torch.cat((a, b), -1).chunk(3, -1)[1] * 2,
    "transpose": lambda a, b: a.T.contiguous() * b.T,
    "every other column": lambda a, b: a[:, ::2] * b[:, 1::2],
    "roll": lambda a, b: a.roll(5, -1) * b,
    "index_select": lambda a, b: a.index_select(0, torch.tensor([3, 0, 3, 16], device=a.device)),
    "gather": lambda a, b: a.gather(1, torch.tensor([[1], [1], [17]], device=a.device)) + b[:3],
    "embedding": lambda a, b: F.embedding(torch.tensor([0, 16, 16, 2], device=a.device), a),
    "index_copy": lambda a, b: a.index_copy(0, torch.tensor([5, 0], device=a.device), b[:2]),
    "where": lambda a, b: torch.where(a > 0, a, b),
    "masked_fill": lambda a, b: a.masked_fill(b > 0, 0.0) * b,
    "cumsum": lambda a, b: a.cumsum(-1) * b,
    "expand": lambda a, b: a[:, :1].expand(-1, 18) * b,
}


@check("training.gradients", "gradients of whole numbers, which float32 holds exactly")
def structure(context: Context) -> None:
    a = inputs.integers(17, 18, low=-9, high=9, seed=1)
    b = inputs.integers(17, 18, low=-9, high=9, seed=2)
    for name, function in _STRUCTURAL.items():
        with context.case(name):
            want = tuple(exactly(grad) for grad in _both(function, a.double(), b.double()))
            on = context.put(a), context.put(b)
            context.verify(_both, want, dtype=(torch.float32, torch.float32), given=(function, *on))


def _both(
    function: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of a weighted sum of the results."""
    a, b = (x.detach().clone().requires_grad_() for x in (a, b))
    out = function(a, b)
    weights = (torch.arange(out.numel()) % 7 - 3).to(out.dtype).view(out.shape).to(out.device)
    (out * weights).sum().backward()  # type: ignore[no-untyped-call]
    zero = torch.zeros_like(a)
    return a.grad if a.grad is not None else zero, b.grad if b.grad is not None else zero


# -- optimizers -------------------------------------------------------------------------------


@check("training.optimizers", "AdamW and SGD, one tensor at a time, many at once, and fused")
def optimizers(context: Context) -> None:
    shapes = ((33, 17), (129,), (5, 3, 2))
    ways: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
        "AdamW": (torch.optim.AdamW, {"foreach": False}),
        "AdamW, many at once": (torch.optim.AdamW, {"foreach": True}),
        "AdamW, fused": (torch.optim.AdamW, {"fused": True}),
        "SGD with momentum": (torch.optim.SGD, {"momentum": 0.9, "foreach": False}),
    }
    for words, (kind, options) in ways.items():
        with context.case(words, optional="fused" in words):
            values = [inputs.normal(*shape, seed=i) for i, shape in enumerate(shapes)]
            grads = [inputs.normal(*shape, seed=10 + i) for i, shape in enumerate(shapes)]
            plain = {key: value for key, value in options.items() if key == "momentum"}
            exact = _optimised(
                kind, [v.double() for v in values], [g.double() for g in grads], plain
            )
            # Each of 3 steps does about 20 roundings, of updates no larger than 0.1.
            want = tuple(Expected(v, 60 * U32 * (v.abs() + 0.3)) for v in exact)
            on = [context.put(v) for v in values], [context.put(g) for g in grads]
            if "fused" in words:
                context.judge(_optimised(kind, *on, options), want)
            else:
                context.verify(_optimised, want, given=(kind, *on, options))


def _optimised(
    kind: Callable[..., Any], values: list[Tensor], grads: list[Tensor], options: dict[str, Any]
) -> tuple[Tensor, ...]:
    parameters = [torch.nn.Parameter(value.clone()) for value in values]
    optimizer = kind(parameters, lr=0.1, weight_decay=0.01, **options)
    for step_number in range(3):
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad * (1.0 - 0.25 * step_number)
        optimizer.step()
    return tuple(parameter.detach() for parameter in parameters)


# -- tied weights and mixed precision ---------------------------------------------------------


def tied_losses(device: torch.device) -> None:
    """Losses of a tied model over four steps are those of the host."""

    def losses(where: torch.device) -> list[float]:
        torch.manual_seed(0)
        embedding = torch.nn.Embedding(31, 16)
        head = torch.nn.Linear(16, 31, bias=False)
        head.weight = embedding.weight
        model = torch.nn.Sequential(embedding, torch.nn.Linear(16, 16), head).to(where)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        ids: Any = torch.arange(31).to(where)
        seen = []
        for _ in range(4):
            loss: Any = torch.nn.functional.cross_entropy(model(ids), ids.roll(1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append(loss.item())
        return seen

    got, want = losses(device), losses(torch.device("cpu"))
    for step, (mine, theirs) in enumerate(zip(got, want)):  # noqa: B905 - of one length
        close = abs(mine - theirs) < 1e-4 * abs(theirs)
        expect(close, f"the loss of step {step + 1} is {mine:.6f}, on the host {theirs:.6f}")


@check("training.tied", "a model with tied weights trains as on the host")
def tied_training(context: Context) -> None:
    context.probe("four steps", tied_losses)


def casts_really(device: torch.device) -> None:
    """Autocast computes products in 16 bits, and keeps weights and gradients in 32."""
    layer: Any = torch.nn.Linear(8, 8).to(device)
    x = torch.randn(4, 8).to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        product = layer(x)
    expect(product.dtype == torch.bfloat16, f"autocast casts nothing: a product is {product.dtype}")
    product.float().square().sum().backward()
    expect(layer.weight.dtype == torch.float32, "the weight changed its dtype")
    expect(layer.weight.grad.dtype == torch.float32, "the gradient has another dtype")
    expect(layer(x).dtype == torch.float32, "autocast goes on behind its end")


@check("training.autocast", "autocast to bfloat16 casts really", optional=True)
def autocast(context: Context) -> None:
    context.probe("a linear layer", casts_really, optional=True)
