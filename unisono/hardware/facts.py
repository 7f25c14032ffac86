"""Facts about a kind of device before one is touched: data, no calls."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from unisono.hardware.math_precision import MATH_APIS

_DTYPES = ("bfloat16", "float16", "float32")

FEATURES = ("graphs", "pinned_memory", "async_copy", "triton", "fp8", "int4")


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Defaults are conservative: what is not said is not assumed."""

    name: str
    """The name for ``--device``; names of vendors' hardware are theirs alone."""
    device_type: str
    """The type for ``torch.device``. Several vendors answer to the same type."""
    vendor: str = ""
    """For people."""
    import_module: str | None = None
    """The package that brings the device to torch, such as ``torch_npu``."""
    dtypes: tuple[str, ...] = ("float32",)
    """Supported for weights and KV cache, the fastest first: of bfloat16, float16, float32."""
    kv_block_size: int = 16
    """Preferred tokens in a KV block."""
    distributed_backend: str | None = None
    """The backend for ``torch.distributed``; None goes through host memory."""
    visible_devices_variable: str | None = None
    """Environment variable that hides devices from a process."""
    tool: str | None = None
    """The vendor's command that lists devices: where it is installed, a driver should be."""
    device_nodes: str | None = None
    """Pattern of the driver's device files."""
    math_api: str | None = None
    """The interface whose precision of exp, log, sin, ... the device's kernels have, a key of
    ``math_precision``. None: that of OpenCL's full profile is demanded."""
    features: Collection[str] = frozenset()
    """Entries of ``FEATURES``."""
    detection_order: int = 50
    """Lower is asked first; out-of-tree devices come before those that they may imitate."""
    op_table: int | None = None
    """``OP_TABLE_VERSION`` that a package's own ops were written for: a unisono with another one
    refuses the package. None: it has no ops of its own; one that has is refused too."""
    rests_on: tuple[str, ...] = ()
    """Public sources of what this file claims."""

    def __post_init__(self) -> None:
        self._check("features", self.features, FEATURES)
        self._check("dtypes", self.dtypes, _DTYPES)
        if self.math_api is not None:
            self._check("math_api", (self.math_api,), MATH_APIS)
        if not self.dtypes:
            raise ValueError(f"{self.name}: no dtypes")

    def _check(self, field: str, given: Collection[str], known: tuple[str, ...]) -> None:
        if isinstance(given, str):
            raise ValueError(f"{self.name}: {field} must be a tuple or a set of names")
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise ValueError(
                f"{self.name}: unknown {field} {', '.join(unknown)}; known: {', '.join(known)}"
            )
