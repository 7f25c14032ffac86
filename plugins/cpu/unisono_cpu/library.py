"""The native library: where it lies, its functions and structures as ctypes sees them, its errors.

Knows no tensors; ``ops``, ``weights`` and ``decoder`` do.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from ctypes import POINTER, c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_size_t, c_void_p
from importlib import metadata
from pathlib import Path
from typing import Any

from unisono.core.errors import CheckpointError, ConfigError, HardwareError, InsufficientMemoryError
from unisono_cpu.platforms import platform_of, this_platform

_ABI_VERSION = 6
_NAMES = ("libunisono_cpu.so", "libunisono_cpu.dylib", "libunisono_cpu.dll")
_LIBRARY_VARIABLE = "UNISONO_CPU_LIBRARY"
_INSTALL = (
    "Install it again from its wheel file (docs/installing.md): "
    "pip install --force-reinstall --no-deps unisono_cpu-*.whl"
)


class WeightInfo(ctypes.Structure):
    """``uc_weight_info``."""

    _fields_ = (
        ("format", c_int32),
        ("group", c_int32),
        ("scale_dtype", c_int32),
        ("rows", c_int64),
        ("cols", c_int64),
        ("num_scales", c_int64),
        ("bytes", c_int64),
    )


class Linear(ctypes.Structure):
    """``uc_linear``."""

    _fields_ = (("blob", c_void_p), ("bytes", c_size_t), ("bias", c_void_p))


class Cache(ctypes.Structure):
    """``uc_cache``."""

    _fields_ = (
        ("data", c_void_p),
        ("num_blocks", c_int64),
        ("dtype", c_int32),
        ("block_size", c_int32),
        ("num_kv_heads", c_int32),
        ("head_dim", c_int32),
        ("block_bytes", c_int64),
        ("value_bytes", c_int64),
    )


class Step(ctypes.Structure):
    """``uc_step``."""

    _fields_ = (
        ("num_rows", c_int32),
        ("reserved", c_int32),
        ("num_tokens", c_int64),
        ("query_lens", c_void_p),
        ("context_lens", c_void_p),
        ("blocks", c_void_p),
        ("table_starts", c_void_p),
        ("slots", c_void_p),
        ("window", c_int64),
    )


class Layer(ctypes.Structure):
    """``uc_layer``."""

    _fields_ = (
        ("input_norm", c_void_p),
        ("post_norm", c_void_p),
        ("q_norm", c_void_p),
        ("k_norm", c_void_p),
        ("qkv", Linear),
        ("output", Linear),
        ("gate_up", Linear),
        ("down", Linear),
    )


class DecoderSpec(ctypes.Structure):
    """``uc_decoder_spec``."""

    _fields_ = (
        ("num_layers", c_int32),
        ("hidden", c_int32),
        ("inner", c_int32),
        ("num_heads", c_int32),
        ("num_kv_heads", c_int32),
        ("head_dim", c_int32),
        ("half", c_int32),
        ("eps", c_float),
        ("scale", c_float),
        ("softcap", c_float),
        ("layers", POINTER(Layer)),
        ("final_norm", c_void_p),
    )


class LayerStep(ctypes.Structure):
    """``uc_layer_step``."""

    _fields_ = (("step", POINTER(Step)), ("cache", Cache))


class Rows(ctypes.Structure):
    """``uc_rows``."""

    _fields_ = (
        ("rows", c_void_p),
        ("ids", c_void_p),
        ("vocabulary", c_int64),
        ("dtype", c_int32),
        ("reserved", c_int32),
    )


class Turns(ctypes.Structure):
    """``uc_turns``."""

    _fields_ = (
        ("cos", c_void_p),
        ("sin", c_void_p),
        ("positions", c_void_p),
        ("frequencies", c_void_p),
        ("scale", c_float),
    )


class LowRankPart(ctypes.Structure):
    """``uc_low_rank_part``."""

    _fields_ = (
        ("first_row", c_int64),
        ("num_rows", c_int64),
        ("rank", c_int32),
        ("offset", c_int32),
        ("up", c_void_p),
    )


class LowRank(ctypes.Structure):
    """``uc_low_rank``."""

    _fields_ = (
        ("cols", c_int64),
        ("rank", c_int32),
        ("dtype", c_int32),
        ("down", c_void_p),
        ("parts", POINTER(LowRankPart)),
        ("num_parts", c_int32),
        ("reserved", c_int32),
    )


class Adapters(ctypes.Structure):
    """``uc_adapters``."""

    kept: object = None
    """Owner of the memory of ``of_tokens``."""
    _fields_ = (
        ("of_tokens", c_void_p),
        ("num_adapters", c_int32),
        ("reserved", c_int32),
        ("low_ranks", POINTER(LowRank)),
    )


_P, _I, _L, _F = c_void_p, c_int, c_int64, c_float
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "uc_abi_version": (_I, ()),
    "uc_last_error": (c_char_p, ()),
    "uc_isa": (c_char_p, ()),
    "uc_available_isa": (c_char_p, (_I,)),
    "uc_set_isa": (_I, (c_char_p,)),
    "uc_features": (c_char_p, ()),
    "uc_threads": (_I, ()),
    "uc_set_threads": (_I, (_I,)),
    "uc_workspace_bytes": (c_size_t, ()),
    "uc_release_workspace": (None, ()),
    "uc_test_fail_allocation": (None, (_I,)),
    "uc_read": (_I, (_P, c_size_t, _P)),
    "uc_products": (_I, (_I, c_int64, POINTER(c_double))),
    "uc_describe": (_I, (_I, _I, _I, _L, _L, POINTER(WeightInfo))),
    "uc_inspect": (_I, (_P, c_size_t, POINTER(WeightInfo))),
    "uc_verify": (_I, (_P, c_size_t)),
    "uc_pack": (_I, (_P, _I, _L, POINTER(WeightInfo), _P, c_size_t)),
    "uc_pack_levels": (_I, (_P, _P, _P, _P, POINTER(WeightInfo), _P, c_size_t)),
    "uc_unpack": (_I, (_P, c_size_t, _P)),
    "uc_embed": (_I, (_P, c_size_t, _P, _L, _P, _I)),
    "uc_multiply": (_I, (POINTER(Linear), _P, _I, _L, _L, _P, _I, _L)),
    "uc_mlp": (_I, (POINTER(Linear), POINTER(Linear), _P, _I, _L, _L, _P, _I, _L)),
    "uc_experts": (_I, (_P, _P, _L, _P, _P, _L, _L, _P, _I, _L, _P, _I, _L)),
    "uc_add_rms_norm": (_I, (_P, _I, _P, _P, _P, _F, _L, _L, _P, _I)),
    "uc_silu_mul": (_I, (_P, _I, _L, _L, _P, _I)),
    "uc_rotary_heads": (_I, (_P, _I, _L, _I, _I, _I, _I, _P, _P, _F, _P, _P, _P, _P, _I)),
    "uc_kv_write": (_I, (POINTER(Cache), POINTER(Step), _P, _P, _I, _L, _L)),
    "uc_attention": (
        _I,
        (POINTER(Cache), POINTER(Step), _I, _F, _F, _P, _P, _I, _L, _P, _I),
    ),
    "uc_decoder_new": (_I, (POINTER(DecoderSpec), POINTER(c_void_p))),
    "uc_decoder_free": (None, (_P,)),
    "uc_decoder_run": (
        _I,
        (_P, POINTER(LayerStep), _L, POINTER(Rows), _P, POINTER(Turns), _P, _P),
    ),
    "uc_decoder_run_adapted": (
        _I,
        (_P, POINTER(LayerStep), _L, POINTER(Rows), _P, POINTER(Turns), _P, _P, POINTER(Adapters)),
    ),
    "uc_argmax": (_I, (_P, _L, _L, _P)),
    "uc_draw": (_I, (_P, _L, _L, _P, _P, _P, _P, _P)),
}


_LATER = ("uc_decoder_run_adapted",)
"""Functions that a library built before them lacks; it runs adapters layer by layer."""


def _no_memory(message: str) -> Exception:
    return InsufficientMemoryError(
        f"unisono-cpu: {message}.", hint="Lower --kv-memory or the number of tokens of a step."
    )


def _unsupported(message: str) -> Exception:
    return ConfigError(f"unisono-cpu: {message}.", hint=f"Here: {', '.join(available_isas())}.")


def _corrupt(message: str) -> Exception:
    return CheckpointError(f"unisono-cpu: {message}.", hint="Delete the file; it is made anew.")


def _not_finite(message: str) -> Exception:
    return CheckpointError(
        f"{message[0].upper()}{message[1:]}.", hint="Load it as it is, with --weights auto."
    )


_ERRORS: dict[int, Callable[[str], Exception]] = {
    1: ValueError,
    2: _no_memory,
    3: _unsupported,
    4: _corrupt,
    5: _not_finite,
}


def call(name: str, *arguments: Any) -> None:
    """Run a function that gives a status; raise what the status means."""
    status = getattr(native, name)(*arguments)
    if status:
        raise _ERRORS[status](last_error())


def last_error() -> str:
    """The words that go with the last status of this thread."""
    return native.uc_last_error().decode(errors="replace")


def runs_adapters() -> bool:
    """True where a decoder's call adds adapters."""
    return hasattr(native, "uc_decoder_run_adapted")


def available_isas() -> list[str]:
    """Instruction sets that this processor runs, the best first."""
    names: list[str] = []
    while name := native.uc_available_isa(len(names)):
        names.append(name.decode())
    return names


def _candidates() -> list[Path]:
    forced = os.environ.get(_LIBRARY_VARIABLE)
    if forced:
        return [Path(forced)]
    here = Path(__file__).parent
    found = [here / name for name in _NAMES]
    try:  # An editable installation keeps the library where the wheel would put it.
        files = metadata.files("unisono-cpu") or []
    except metadata.PackageNotFoundError:
        files = []
    return found + [Path(str(file.locate())) for file in files if file.name in _NAMES]


def _load() -> ctypes.CDLL:
    candidates = _candidates()
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise HardwareError(f"The library of unisono-cpu is not at {candidates[0]}.", hint=_INSTALL)
    library = _open(path)
    if library.uc_abi_version() != _ABI_VERSION:
        raise HardwareError(
            f"{path} has interface {library.uc_abi_version()}, this is {_ABI_VERSION}.",
            hint=_INSTALL,
        )
    for name, (result, arguments) in _SIGNATURES.items():
        if name in _LATER and not hasattr(library, name):
            continue
        function = getattr(library, name)
        function.restype, function.argtypes = result, list(arguments)
    return library


def _open(path: Path) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(str(path))
        library.uc_abi_version.restype = c_int
        return library
    except (OSError, AttributeError) as error:
        made_for, here = platform_of(path), this_platform()
        if made_for not in (None, here):
            what = f"{path} is for {made_for}, this is {here}."
        else:
            what = f"{path} does not load: {str(error).removeprefix(f'{path}: ')}."
        raise HardwareError(what, hint=_INSTALL) from error


native = _load()
