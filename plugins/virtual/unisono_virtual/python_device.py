"""The virtual device where no compiler exists: in Python, with holes.

Each tensor is a wrapper around one of the host; ops run on the host's tensors below autograd.
Enough for a model's inference and for a training step. What is missing is named in ``HOLES``.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils import _python_dispatch

from unisono_virtual.chips import Imitation

HOLES = (
    "memory of its own: tensors are the host's",
    "a memory limit and memory statistics",
    "streams, events and copies that come late",
    "simulated time",
    "pinned memory",
    "generators of its own: numbers come from the host's",
    "more than one device",
    "torch.save and torch.load",
    "autocast",
    "planted faults",
    "ops that change the shape of a tensor in place",
    "torch.compile",
)
"""Features of the compiled device that the device in Python lacks."""

_aten = torch.ops.aten
_library: Any = torch.library
_COPIES = {_aten.copy_.default, _aten._to_copy.default}
_INDEXING = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default}
_libraries: list[Any] = []


class VirtualTensor(Tensor):
    """A tensor whose data is ``host``."""

    host: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, host: Tensor, device: torch.device) -> VirtualTensor:
        made: VirtualTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            host.size(),
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=device,
        )
        made.host = host
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        tensors = _tensors((args, kwargs))
        first = next(tensor for tensor in tensors if isinstance(tensor, VirtualTensor))
        device = first.device
        if func not in _COPIES | _INDEXING:
            _refuse_mixed(func, tensors, device)
        to_host = _asks_for_host(func, kwargs)
        if isinstance(kwargs.get("device"), torch.device):
            kwargs["device"] = torch.device("cpu")
        host_args, host_kwargs = _unwrap(args), _unwrap(kwargs)
        result = func(*host_args, **host_kwargs)
        if func is _aten.copy_.default:
            return args[0]
        if to_host:
            return result
        if not _aliases(func):
            return _wrap(result, device)
        # A view of a normal tensor is one also where inference mode makes other tensors special.
        with torch.inference_mode(torch.is_inference_mode_enabled() and first.is_inference()):
            wrapped = _wrap(result, device)
        correct: Any = _python_dispatch.return_and_correct_aliasing
        return correct(func, args, kwargs, wrapped)

    def tolist(self) -> Any:
        return self.host.tolist()

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"{self.host!r} on {self.device}"


def open_in_python(name: str, imitation: Imitation) -> None:
    """Make ``torch.device(name)`` work; torch is told about a device with Python behind it."""
    from torch.utils import backend_registration

    backend_registration._setup_privateuseone_for_python_backend(name, _module(name, imitation))
    device = torch.device(name, 0)

    def empty(size: Any, **options: Any) -> Tensor:
        return VirtualTensor(torch.empty(size, **_on_host(options)), device)

    def empty_strided(size: Any, stride: Any, **options: Any) -> Tensor:
        return VirtualTensor(torch.empty_strided(size, stride, **_on_host(options)), device)

    library = _library.Library("aten", "IMPL")
    library.impl("empty.memory_format", empty, "PrivateUse1")
    library.impl("empty_strided", empty_strided, "PrivateUse1")
    # Where torch leaves the Python key out, as torch.tensor does, ops arrive here.
    library.impl("_copy_from", _copy_from, "PrivateUse1")
    others = _library.Library("_", "IMPL")
    others.fallback(_below_python, "PrivateUse1")
    _libraries.extend((library, others))
    # Or else shared weights would be two after a module moved.
    torch.__future__.set_swap_module_params_on_conversion(True)


def _copy_from(source: Tensor, to: Tensor, non_blocking: bool = False) -> Tensor:
    _unwrap(to).copy_(_unwrap(source))
    return to


def _below_python(func: Any, *args: Any, **kwargs: Any) -> Any:
    return VirtualTensor.__torch_dispatch__(func, (), args, kwargs)


def _module(name: str, imitation: Imitation) -> types.ModuleType:
    module: Any = types.ModuleType(f"torch.{name}", __doc__)
    module.is_available = lambda: True
    module.is_initialized = lambda: True
    module._is_in_bad_fork = lambda: False
    module.device_count = lambda: 1
    module.current_device = lambda: 0
    module.set_device = lambda device: None
    module.synchronize = lambda device=None: None
    module.empty_cache = lambda: None
    module.manual_seed = module.manual_seed_all = torch.default_generator.manual_seed
    module.get_device_name = lambda device=None: f"{imitation.title}, in Python"
    module.mem_get_info = lambda device=None: (imitation.memory_bytes, imitation.memory_bytes)
    return module


@cache
def _aliases(func: Any) -> bool:
    """True where a result is an argument or shares its data."""
    return any(result.alias_info is not None for result in func._schema.returns)


def _on_host(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "device": torch.device("cpu"), "pin_memory": False}


def _map(function: Callable[[Tensor], Any], nest: Any) -> Any:
    """The same nest of lists, tuples and dicts with another value for each tensor."""
    if isinstance(nest, Tensor):
        return function(nest)
    if isinstance(nest, list | tuple):
        return type(nest)(_map(function, item) for item in nest)
    if isinstance(nest, dict):
        return {key: _map(function, item) for key, item in nest.items()}
    return nest


def _wrap(nest: Any, device: torch.device) -> Any:
    return _map(lambda tensor: VirtualTensor(tensor, device), nest)


def _unwrap(nest: Any) -> Any:
    return _map(lambda tensor: tensor.host if isinstance(tensor, VirtualTensor) else tensor, nest)


def _tensors(nest: Any) -> list[Tensor]:
    found: list[Tensor] = []
    _map(found.append, nest)
    return found


def _refuse_mixed(func: Any, tensors: list[Tensor], device: torch.device) -> None:
    for tensor in tensors:
        if not isinstance(tensor, VirtualTensor) and tensor.dim() > 0:
            raise RuntimeError(
                f"{func}: expected all tensors to be on the same device, but found at least two "
                f"devices: {device} and {tensor.device}."
            )


def _asks_for_host(func: Any, kwargs: dict[str, Any]) -> bool:
    asked = kwargs.get("device")
    return isinstance(asked, torch.device) and asked.type == "cpu"
