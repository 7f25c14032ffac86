"""Finds the op of torch that went wrong: the host does every ATen op of a call once more.

A ``TorchDispatchMode`` sees the ops below the device's own ops. The inputs of each are copied to
the host before it runs, the op is done there in float64, and the first result that is further off
than rounding allows names the culprit. Its inputs then become a program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from unisono.conformance.reproductions.op_call import OpCall
from unisono.conformance.reproductions.op_script import write_script
from unisono.conformance.reproductions.scripts import DeviceText

_UNCHECKED = (
    "empty",
    "rand",
    "bernoulli",
    "normal_",
    "uniform_",
    "exponential_",
    "new_empty",
    "lift_fresh",
)
_OF_EQUALS = ("sort", "topk", "max", "min", "median", "kthvalue")
_MOVING = ("copy", "to", "to_copy", "copy_from")
_HOST_LIMIT = 1 << 28
"""Bytes of inputs beyond which an op is not done again."""


def locate(run: Callable[[], Any], device: DeviceText) -> tuple[str, str] | None:
    """(culprit, program) of the first ATen op that diverges, or fails, while ``run`` runs."""
    mode = _Comparing(device)
    try:
        with mode:
            run()
    except Exception:
        if mode.found is None and mode.under_way is not None:
            call = mode.under_way
            return str(call.func), write_script(call, device, raises=True)
    return mode.found


def trace(device: DeviceText, tell: Callable[[str, str], None]) -> TorchDispatchMode:
    """A mode that tells name and program of each ATen op before it runs, and nothing after."""
    return _Telling(device, tell)


class _Telling(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, device: DeviceText, tell: Callable[[str, str], None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._device, self._tell = device, tell

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        call = OpCall.of(func, args, kwargs)
        if call is not None:
            self._tell(str(func), write_script(call, self._device, raises=True))
        result = func(*args, **kwargs)
        self._tell("", "")
        return result


class _Comparing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, device: DeviceText) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: tuple[str, str] | None = None
        self.under_way: OpCall | None = None
        self._device = device
        self._type = torch.device(device.device).type

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.found is not None or _skipped(func, args, kwargs):
            return func(*args, **kwargs)
        self.under_way = OpCall.of(func, args, kwargs)
        stays = _on(self._type, (args, kwargs))
        result = func(*args, **kwargs)
        if self.under_way is not None and _diverges(self.under_way, result, self._type, stays):
            self.found = str(func), write_script(self.under_way, self._device)
        self.under_way = None
        return result


def _skipped(func: Any, args: Any, kwargs: Any) -> bool:
    name = func._schema.name.partition("::")[2]
    if name.startswith(_UNCHECKED):
        return True
    size = sum(leaf.nbytes for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
    return size > _HOST_LIMIT


def _on(device_type: str, values: Any) -> bool:
    """Returns whether any tensor among the values, larger than a number, lies on the device."""
    tensors = [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
    return any(tensor.device.type == device_type for tensor in tensors)


def _diverges(call: OpCall, result: Any, device_type: str, stays: bool) -> bool:
    """``stays``: an input lies on the device, and so must the results."""
    got = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
    try:
        narrow, wide = call.on_host(), call.on_host(wide=True)
    except Exception:
        return False  # an op of the device's own, or one that takes no float64
    any_of_equals = call.name in _OF_EQUALS and not call.kwargs.get("stable")
    count = 1 if any_of_equals else len(narrow)
    moved = stays and "device" not in call.kwargs
    if moved and call.name not in _MOVING and not all(_on(device_type, x) for x in got):
        return True
    return any(_differs(call, *entry) for entry in zip(got[:count], narrow, wide, strict=False))


def _differs(call: OpCall, got: Tensor, narrow: Tensor, wide: Tensor) -> bool:
    if (got.shape, got.dtype) != (narrow.shape, narrow.dtype):
        return True
    mine = got.detach().cpu()
    if not mine.dtype.is_floating_point:
        return not torch.equal(mine, narrow)
    wrong = call.tolerance(mine.dtype).exceeded(mine.double(), wide.double())
    return bool((wrong & ~(mine == narrow)).any())
