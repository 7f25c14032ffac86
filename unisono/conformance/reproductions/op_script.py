"""A call of an ATen op as a program that needs torch and the vendor's package alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from unisono.conformance.reproductions.op_call import OpCall, Tolerance, host_arguments
from unisono.conformance.reproductions.recipes import (
    STYLES,
    Recipe,
    Style,
    map_tensors,
    recipe_of,
    render,
)
from unisono.conformance.reproductions.scripts import DeviceText

_SEEDS = range(3)


@dataclass(frozen=True, slots=True)
class _Remade:
    """A call with recipes in place of its tensors."""

    call: OpCall
    args: Any
    kwargs: Any
    tensors: list[Recipe]

    @classmethod
    def of(cls, call: OpCall, style: Style) -> _Remade | None:
        """None where inputs cannot be made in that style."""
        tensors: list[Recipe] = []

        def take(tensor: Tensor) -> Recipe | None:
            recipe = recipe_of(tensor, style)
            if recipe is not None:
                tensors.append(recipe)
            return recipe

        args, kwargs = map_tensors(call.args, take), map_tensors(call.kwargs, take)
        if len(tensors) < len(call.tensors()):
            return None
        return cls(call, args, kwargs, tensors)

    def arguments(self, where: torch.device, *, wide: bool) -> OpCall:
        def make(recipe: Recipe) -> Tensor:
            base = recipe.base().to(where)
            return recipe.laid_out(base.double() if wide and base.is_floating_point() else base)

        args = _map_recipes(self.args, make)
        kwargs = self.kwargs if where.type != "cpu" else host_arguments(self.kwargs, wide=False)
        return OpCall(self.call.func, args, _map_recipes(kwargs, make))


def _map_recipes(value: Any, make: Any) -> Any:
    if isinstance(value, Recipe):
        return make(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_map_recipes(entry, make) for entry in value)
    if isinstance(value, dict):
        return {key: _map_recipes(entry, make) for key, entry in value.items()}
    return value


def write_script(call: OpCall, device: DeviceText, *, raises: bool = False) -> str:
    """A program; empty where no inputs that can be written down show it.

    Args:
        raises: the op does not give a wrong result but fails, so it is not tried here.
    """
    for style in STYLES:
        remade = _Remade.of(call, style)
        if remade is None:
            continue
        if raises:
            return _failing_program(remade, device)
        for seed in _SEEDS if style != "stated" else (0,):
            tolerance = _shown(remade, device, seed)
            if tolerance is not None:
                return _program(remade, tolerance, device, seed)
    return ""


def _shown(remade: _Remade, device: DeviceText, seed: int) -> Tolerance | None:
    """The tolerance that these inputs let the device's result exceed."""
    try:
        torch.manual_seed(seed)
        on_device = remade.arguments(torch.device(device.device), wide=False)
        result = on_device.func(*on_device.args, **on_device.kwargs)
        torch.manual_seed(seed)
        host = remade.arguments(torch.device("cpu"), wide=True)
        want = host.on_host(wide=True)
        narrow = remade.arguments(torch.device("cpu"), wide=False).on_host()
    except Exception:
        return None
    got = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
    for mine, exact, form in zip(got, want, narrow, strict=False):
        entrywise = host.tolerance(form.dtype)
        tolerance = Tolerance(entrywise.relative, float(torch.as_tensor(entrywise.absolute).max()))
        formed = (mine.shape, mine.dtype, mine.device.type) == (
            *(form.shape, form.dtype),
            torch.device(device.device).type,
        )
        if not formed or tolerance.exceeded(mine.cpu().double(), exact.double()).any():
            return tolerance
    return None


def _call_text(remade: _Remade, seed: int) -> str:
    names = {id(recipe): f"x{i}" for i, recipe in enumerate(remade.tensors)}
    inputs = "\n".join(
        f"    x{i} = {recipe.text('place')}" for i, recipe in enumerate(remade.tensors)
    )

    def name(recipe: Recipe) -> str:
        return names[id(recipe)]

    arguments = [render(value, name) for value in remade.args]
    arguments += [f"{key}={render(value, name)}" for key, value in remade.kwargs.items()]
    return f"""def call(where, wide):
    def place(x, special={{}}):
        for at, value in special.items():
            x[at] = value
        x = x.to(where)
        return x.double() if wide and x.is_floating_point() else x

    torch.manual_seed({seed})
{inputs}
    result = torch.ops.{remade.call.func}({", ".join(arguments)})
    return [result] if isinstance(result, torch.Tensor) else list(result)
"""


def _failing_program(remade: _Remade, device: DeviceText) -> str:
    title = f"{remade.call.func} on {device.device} fails."
    return f"{device.header(title)}\n\n{_call_text(remade, 0)}\n\nprint(call(device, False))\n"


def _program(remade: _Remade, tolerance: Tolerance, device: DeviceText, seed: int) -> str:
    title = f"{remade.call.func} on {device.device} against the CPU in float64."
    return f"""{device.header(title)}

{_call_text(remade, seed)}

for mine, exact, form in zip(call(device, False), call("cpu", True), call("cpu", False)):
    if (mine.shape, mine.dtype, mine.device.type) != (form.shape, form.dtype, device.type):
        print(f"got {{mine.dtype}} {{tuple(mine.shape)}} on {{mine.device}}, "
              f"want {{form.dtype}} {{tuple(form.shape)}} on {{device}}")
        raise SystemExit(1)
    mine, exact = mine.cpu().double(), exact.double()
    allowed = {tolerance.relative:.6g} * exact.abs() + {float(tolerance.absolute):.6g}
    same = (mine == exact) | (mine.isnan() & exact.isnan())
    wrong = ~same & ~((mine - exact).abs() <= allowed)
    print(f"{{int(wrong.sum())}} of {{wrong.numel()}} entries are wrong")
    print("got ", mine[wrong][:8].tolist())
    print("want", exact[wrong][:8].tolist())
    if wrong.any():
        raise SystemExit(1)
"""
