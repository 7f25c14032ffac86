"""Facts and counters of an engine: plain values, fit for any wire."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineInfo:
    """Fixed once the engine is up."""

    model_type: str
    dtype: str
    device: str
    max_model_len: int
    vocab_size: int
    num_parameters: int
    weight_bytes: int
    """Bytes on one rank, as are all sizes that follow; ranks hold as much as one another."""
    step_weight_bytes: int
    """Read by a step of one token: all but an embedding that is not the head too, and of experts
    those of a token."""
    block_size: int
    num_blocks: int
    kv_bytes: int
    activation_bytes: int
    """The most that a step takes at once beside weights and KV cache, counted in advance."""
    kv_dtype: str
    """Dtype of keys and values; recurrent and latent states are in ``dtype``."""
    weight_format: str = "auto"
    """Held format of linear weights: as loaded, or quantised."""
    tensor_parallel: int = 1
    """Number of ranks."""
    note: str = ""
    """Advice about the device's set-up."""
    hidden_size: int = 0
    has_head: bool = True
    """False where the model predicts no tokens."""
    num_classes: int = 0
    """Outputs of a head that classifies; 0 where there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineStats:
    """Now (running, waiting, blocks) and since the start (the rest)."""

    num_running: int
    num_waiting: int
    oldest_wait_s: float
    num_blocks: int
    num_free_blocks: int
    num_preemptions: int
    prefix_queried_tokens: int
    prefix_hit_tokens: int
    prompt_tokens: int
    generated_tokens: int
    accepted_tokens: int
    """Generated tokens that had been drafted."""
    rejected_tokens: int
    """Drafted tokens that were not what came."""
    steps: int


@dataclass(slots=True)
class Timings:
    """Seconds spent in each part of the steps so far."""

    steps: int = 0
    schedule_s: float = 0.0
    prepare_s: float = 0.0
    forward_s: float = 0.0
    sample_s: float = 0.0
    update_s: float = 0.0

    def reset(self) -> None:
        for part in fields(self):
            setattr(self, part.name, part.default)

    @property
    def total_s(self) -> float:
        return self.schedule_s + self.prepare_s + self.forward_s + self.sample_s + self.update_s

    @property
    def overhead_s(self) -> float:
        """All but the model's forward pass."""
        return self.total_s - self.forward_s
