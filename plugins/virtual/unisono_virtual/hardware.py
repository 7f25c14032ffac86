"""The virtual accelerator as unisono sees it: ``virtual``, ``virtual:1``, ``virtual:h200``,
``virtual:h200:1``. Asking whether it is here loads and builds nothing."""

from __future__ import annotations

import os
import sys

from unisono.core.errors import ConfigError
from unisono.hardware import DeviceReport, Facts, Hardware
from unisono_virtual import building, install, installed, prediction
from unisono_virtual.chips import imitate, split_choice
from unisono_virtual.python_device import HOLES

_NUM_DEVICES_VARIABLE = "UNISONO_VIRTUAL_DEVICES"


class VirtualHardware(Hardware):
    """A device without a chip; with a chip's name after the colon, one that shows its figures."""

    facts = Facts(
        name="virtual",
        device_type="virtual",
        vendor="unisono",
        dtypes=("float32", "bfloat16", "float16"),
        distributed_backend="virtual",
        features=frozenset({"pinned_memory", "async_copy"}),
        detection_order=2000,
    )

    @classmethod
    def open(cls, which: str) -> Hardware:
        chip, index = split_choice(which)
        present = installed()
        if present is None or chip is not None:
            install(cls.facts.device_type, chip=chip, num_devices=_num_devices())
        return cls(index)

    @classmethod
    def missing(cls) -> str | None:
        if not sys.platform.startswith("linux"):
            return "it needs Linux"
        present = installed()
        if present is not None and present.name != cls.facts.device_type:
            return f"in this process it stands in for {present.name}"
        return None

    @classmethod
    def count(cls) -> int:
        present = installed()
        if present is not None:
            return present.num_devices
        return _num_devices() if cls._is_compiled() else 1

    @classmethod
    def describe(cls, index: int) -> str:
        present = installed()
        title = (present.imitation if present else imitate(None)).title
        return title if cls._is_compiled() else f"{title} in Python, lacking {len(HOLES)} things"

    @staticmethod
    def _is_compiled() -> bool:
        present = installed()
        return present.compiled if present else building.can_build()

    @classmethod
    def survey(cls) -> tuple[DeviceReport, ...]:
        if installed() is not None:
            return super().survey()
        memory = imitate(None).memory_bytes
        return tuple(
            DeviceReport(index, cls.describe(index), memory, memory) for index in range(cls.count())
        )

    @property
    def name(self) -> str:
        present = installed()
        chip = present.imitation.chip if present else None
        return ":".join(filter(None, (self.facts.name, chip, str(self.index))))

    def synchronize(self) -> None:
        if self._is_compiled():
            super().synchronize()

    def predicted_seconds(self) -> float | None:
        return prediction.predicted_seconds(self.index)

    def prediction_note(self) -> str:
        return prediction.predict(self.index).reason


def _num_devices() -> int:
    """Number of devices, from the environment; 2 by default."""
    text = os.environ.get(_NUM_DEVICES_VARIABLE, "2")
    if not (text.isascii() and text.isdecimal()):
        raise ConfigError(f"{_NUM_DEVICES_VARIABLE}={text} is no number.")
    return int(text)
