"""``torch.<name>``: what programs expect of an accelerator's module."""

from __future__ import annotations

import types
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from unisono_virtual.chips import Imitation
from unisono_virtual.settings import settings

accelerator = torch.accelerator
Device = int | str | torch.device | None


@dataclass(frozen=True, slots=True)
class DeviceProperties:
    """Properties of one device; memory in bytes."""

    name: str
    total_memory: int
    multi_processor_count: int = 1
    major: int = 0
    minor: int = 0


def make_module(name: str, lacking: Iterable[str]) -> types.ModuleType:
    """The module, without the names in ``lacking``."""
    module = types.ModuleType(f"torch.{name}", __doc__)
    missing = set(lacking)
    for key, value in _contents().items():
        if key not in missing:
            setattr(module, key, value)
    return module


def _contents() -> dict[str, Any]:
    own = {
        key: value
        for key, value in globals().items()
        if getattr(value, "__module__", None) == __name__
        and key not in ("make_module", "_contents")
    }
    shared = {key: getattr(accelerator, key) for key in _SHARED}
    return own | shared | {"Stream": Stream, "Event": Event, "Generator": torch.Generator}


_SHARED = (
    "current_stream",
    "get_memory_info",
    "memory_stats",
    "reset_accumulated_memory_stats",
    "set_stream",
)


def _ops() -> Any:
    return torch.ops.unisono_virtual


def _index(device: Device = None) -> int:
    if isinstance(device, int):
        return device
    index = torch.device(device).index if device is not None else None
    return current_device() if index is None else index


def _chip() -> Imitation:
    return settings().imitation


# -- devices ------------------------------------------------------------------------------------


def is_available() -> bool:
    return device_count() > 0


def device_count() -> int:
    return settings().num_devices


def current_device() -> int:
    return int(_ops().get_device())


def set_device(device: Device) -> None:
    _ops().set_device(_index(device))


def get_device_name(device: Device = None) -> str:
    return _chip().title


def get_device_properties(device: Device = None) -> DeviceProperties:
    return DeviceProperties(_chip().title, _chip().memory_bytes)


def get_device_capability(device: Device = None) -> Any:
    return accelerator.get_device_capability(_index(device))


def is_bf16_supported() -> bool:
    return True


def get_amp_supported_dtype() -> list[torch.dtype]:
    return [torch.bfloat16, torch.float16, torch.float32]


def synchronize(device: Device = None) -> None:
    _ops().synchronize(_index(device))


class device:
    """Context in which the device is the thread's current one; negative means no change."""

    def __init__(self, device: Device) -> None:
        self.index = _index(device)

    def __enter__(self) -> None:
        self.before = current_device()
        if self.index >= 0:
            set_device(self.index)

    def __exit__(self, *_: object) -> None:
        set_device(self.before)


class device_of(device):
    """The same for the device of a tensor; nothing happens for others."""

    def __init__(self, tensor: torch.Tensor) -> None:
        ours = tensor.device.type == settings().name
        super().__init__(tensor.get_device() if ours else -1)


def _exchange_device(index: int) -> int:
    before = current_device()
    if index >= 0:
        set_device(index)
    return before


def _maybe_exchange_device(index: int) -> int:
    return _exchange_device(index)


# -- memory ---------------------------------------------------------------------------------------
# Not torch.accelerator's: plugins older than that had these.


def memory_allocated(device: Device = None) -> int:
    return int(_ops().memory(_index(device))[0])


def memory_reserved(device: Device = None) -> int:
    return int(_ops().memory(_index(device))[1])


def max_memory_allocated(device: Device = None) -> int:
    return int(_ops().memory(_index(device))[2])


def max_memory_reserved(device: Device = None) -> int:
    return int(_ops().memory(_index(device))[3])


def mem_get_info(device: Device = None) -> tuple[int, int]:
    free, total = _ops().memory(_index(device))[4:]
    return int(free), int(total)


def reset_peak_memory_stats(device: Device = None) -> None:
    _ops().reset_peak(_index(device))


def empty_cache() -> None:
    _ops().empty_cache()


# -- state of the module --------------------------------------------------------------------------


def init() -> None:
    """Nothing is left to do once the module exists."""


def is_initialized() -> bool:
    return True


def _lazy_init() -> None:
    """Does what ``init`` does."""


def _is_in_bad_fork() -> bool:
    return False


# -- streams --------------------------------------------------------------------------------------


class Stream(torch.Stream):
    """A queue; made on the current device where none is named."""

    def __new__(cls, device: Device = None, priority: int = 0, **kwargs: Any) -> Stream:
        if kwargs:
            return super().__new__(cls, **kwargs)
        where = torch.device(settings().name, _index(device))
        return super().__new__(cls, device=where, priority=priority)


class Event(torch.Event):
    """A mark in a stream; ``elapsed_time`` is in ms, simulated where the chip can be predicted."""

    def __new__(cls, enable_timing: bool = False, **kwargs: Any) -> Event:
        device = kwargs.pop("device", settings().name)
        return super().__new__(cls, device=device, enable_timing=enable_timing, **kwargs)


class stream:
    """Context in which work goes to ``stream``; None changes nothing."""

    def __init__(self, stream: torch.Stream | None) -> None:
        self.stream = stream

    def __enter__(self) -> torch.Stream | None:
        if self.stream is not None:
            self.device_before = current_device()
            self.before = accelerator.current_stream(self.stream.device_index)
            accelerator.set_stream(self.stream)
        return self.stream

    def __exit__(self, *_: object) -> None:
        if self.stream is not None:
            accelerator.set_stream(self.before)
            set_device(self.device_before)


def default_stream(device: Device = None) -> torch.Stream:
    return torch.Stream(
        stream_id=0,
        device_index=_index(device),
        device_type=torch._C._autograd.DeviceType.PrivateUse1.value,
    )


# -- random numbers -------------------------------------------------------------------------------


def manual_seed(seed: int) -> None:
    _ops().seed(current_device(), _signed(seed))


def manual_seed_all(seed: int) -> None:
    for index in range(device_count()):
        _ops().seed(index, _signed(seed))


def seed() -> None:
    manual_seed(torch.default_generator.seed())


def seed_all() -> None:
    manual_seed_all(torch.default_generator.seed())


def initial_seed() -> int:
    return int(_ops().initial_seed(current_device()))


def get_rng_state(device: Device = None) -> torch.Tensor:
    return _ops().rng_state(_index(device))


def get_rng_state_all() -> list[torch.Tensor]:
    return [get_rng_state(index) for index in range(device_count())]


def set_rng_state(new_state: torch.Tensor, device: Device = None) -> None:
    _ops().set_rng_state(_index(device), new_state)


def set_rng_state_all(new_states: Iterable[torch.Tensor]) -> None:
    for index, state in enumerate(new_states):
        set_rng_state(state, index)


def _signed(seed: int) -> int:
    """The same 64 bits as torch's operators take them."""
    bits = int(seed) & (2**64 - 1)
    return bits - 2**64 if bits >= 2**63 else bits


# -- the imitated chip's time ---------------------------------------------------------------------


def elapsed_prediction(device: Device = None) -> float | None:
    """Seconds that the chip's published figures allow for all work so far; None where unknown."""
    from unisono_virtual import prediction

    return prediction.predicted_seconds(_index(device))
