"""Options of an engine: one flat, frozen, validated record."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import Any

from unisono.core.cache import KV_DTYPES
from unisono.core.errors import ConfigError
from unisono.core.weight_format import WeightFormat

MAX_THREADS = 1024
MAX_DRAFTS = 32
SPECULATION_HINT = "off, ngram, or the folder of a smaller model"
DTYPES = ("auto", "float32", "bfloat16", "float16")
TASKS = ("auto", "generate", "embed", "rerank")
_KINDS = {"str": "a text", "int": "a whole number", "bool": "True or False"}
_AT_LEAST_ONE = (
    "max_num_seqs",
    "max_num_batched_tokens",
    "max_queue",
    "tensor_parallel",
    "kv_memory",
    "max_model_len",
    "block_size",
    "max_adapter_rank",
)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY_UNITS = {"KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineConfig:
    """Args:
    device: name of a hardware, with an index where there are several (``cpu``, ``npu:1``).
    dtype: of weights and KV cache; ``auto`` is the checkpoint's, where the device has it.
    kv_dtype: of keys and values in the cache: ``auto`` (as ``dtype`` says), ``int8`` or ``fp8``.
    kv_memory: bytes for the KV cache, an absolute budget; of each rank, where there are several.
        ``None`` is 2 GiB, or half of what the weights leave free on the device, if that is less.
    max_model_len: most tokens of prompt and answer; ``None`` is what model and budget allow.
    max_num_seqs: most sequences in one step.
    max_num_batched_tokens: most tokens in one step, prefill and decode together.
    block_size: tokens in a KV block; ``None`` is what the hardware prefers, and where layers keep a
        recurrent state, so many that their keys and values take as much memory as it.
    prefix_cache: keep the KV of finished requests and share equal beginnings.
    max_queue: most requests that wait; more are refused.
    weights: how linear weights are held: ``auto`` (as loaded), ``int8``, ``int4-g128``, ...
    weight_cache: keep quantised weights on the disk for the next start.
    tensor_parallel: ranks, each a process with a device and a part of the model.
    task: what the model is for: ``generate``, ``embed`` or ``rerank``; it is loaded without a head
        that its task does not need. ``auto`` is what its folder says, as ``LLM`` and the server
        read it; to an engine by itself, ``generate``.
    max_adapters: most adapters that are loaded at a time, for which memory is kept; ``None`` keeps
        none, and takes up to 8 while there is memory.
    max_adapter_rank: most of an adapter's rank.
    speculate: drafts of the tokens that come next, which a step then computes together: ``off``,
        ``ngram`` (from what prompt and answer said before) or the folder of a smaller model with
        the same vocabulary. The answers are the same.
    speculate_tokens: most drafts for a sequence in one step.
    threads: of the host, for all ranks together; ``None`` is what torch takes, within the process's
        affinity and the quotas of its control groups.

    Raises:
        ConfigError: a value out of range.
    """

    device: str = "auto"
    dtype: str = "auto"
    kv_dtype: str = "auto"
    kv_memory: int | None = None
    max_model_len: int | None = None
    max_num_seqs: int = 64
    max_num_batched_tokens: int = 1024
    block_size: int | None = None
    prefix_cache: bool = True
    max_queue: int = 1024
    weights: str = "auto"
    weight_cache: bool = True
    tensor_parallel: int = 1
    max_adapters: int | None = None
    max_adapter_rank: int = 64
    threads: int | None = None
    task: str = "auto"
    speculate: str = "off"
    speculate_tokens: int = 8

    def __post_init__(self) -> None:
        self._check_types()
        if self.dtype not in DTYPES:
            raise ConfigError(f"Unknown dtype {self.dtype!r}.", hint=f"Use {', '.join(DTYPES)}.")
        if self.task not in TASKS:
            raise ConfigError(f"Unknown task {self.task!r}.", hint=f"Use {', '.join(TASKS)}.")
        if self.kv_dtype not in KV_DTYPES:
            raise ConfigError(
                f"Unknown kv_dtype {self.kv_dtype!r}.", hint=f"Use {', '.join(KV_DTYPES)}."
            )
        for name in _AT_LEAST_ONE:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, not {value}.")
        if self.max_adapters is not None and self.max_adapters < 0:
            raise ConfigError(f"max_adapters must not be negative, but is {self.max_adapters}.")
        if self.threads is not None and not 1 <= self.threads <= MAX_THREADS:
            raise ConfigError(f"threads must be 1 to {MAX_THREADS}, not {self.threads}.")
        if not 1 <= self.speculate_tokens <= MAX_DRAFTS:
            raise ConfigError(
                f"speculate_tokens must be 1 to {MAX_DRAFTS}, not {self.speculate_tokens}."
            )
        if not self.speculate:
            raise ConfigError("speculate is empty.", hint=f"Use {SPECULATION_HINT}.")
        WeightFormat.parse(self.weights)
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ConfigError(
                "max_num_batched_tokens is smaller than max_num_seqs.",
                hint="Each running sequence needs a token a step: raise one or lower the other.",
            )

    @property
    def most_drafts(self) -> int:
        """Drafts of a sequence in one step."""
        return 0 if self.speculate == "off" else self.speculate_tokens

    def but(self, **options: Any) -> EngineConfig:
        """The same, but for the fields in ``options``; of these ``kv_memory`` may be a text, such
        as ``2GiB`` or ``auto``.

        Raises:
            ConfigError: an option that is no field, or a value out of range.
        """
        names = [field.name for field in fields(self)]
        if unknown := sorted(options.keys() - set(names)):
            raise ConfigError(
                f"An engine has no option {unknown[0]!r}.", hint=f"Options: {', '.join(names)}."
            )
        memory = options.get("kv_memory")
        if isinstance(memory, str):
            options["kv_memory"] = parse_kv_memory(memory)
        return replace(self, **options)

    def _check_types(self) -> None:
        for field in fields(self):
            kind, _, none = str(field.type).partition(" | ")
            value = getattr(self, field.name)
            if not (value is None and none) and type(value).__name__ != kind:
                says = f"{_KINDS[kind]}{' or None' if none else ''}"
                raise ConfigError(f"{field.name} must be {says}, not {value!r:.40}.")


def parse_bytes(text: str) -> int:
    """``"8GiB"``, ``"512 MB"``, ``"1e9"`` -> bytes.

    Raises:
        ConfigError: not a size.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?(?:e[0-9]+)?)\s*([kmgt]?i?)b?\s*", text, re.I)
    units = {**_UNITS, **_BINARY_UNITS}
    if not match or match[2].upper() not in units:
        raise ConfigError(f"{text!r} is not a size.", hint="Write it like 2GiB, 512MiB or 800MB.")
    size = float(match[1]) * units[match[2].upper()]
    if not 1 <= size < 2**63:
        raise ConfigError(f"{text!r} is {'no memory at all' if size < 1 else 'too much'}.")
    return int(size)


def parse_kv_memory(text: str) -> int | None:
    """A size, or ``"auto"``: what fits.

    Raises:
        ConfigError: neither.
    """
    if text.strip().lower() == "auto":
        return None
    try:
        return parse_bytes(text)
    except ConfigError as error:
        raise ConfigError(error.message, hint=f"{error.hint} Or auto: what fits.".strip()) from None


def format_bytes(size: float) -> str:
    """1610612736 -> ``"1.5 GiB"``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
