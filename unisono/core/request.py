"""Requests that a host hands to the engine, and the outputs it gets back each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unisono.core.pooling import Pooling
from unisono.core.sampling import SamplingParams

FinishReason = Literal["stop", "length", "abort", "error"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One prompt, one answer (a request with ``n`` answers is ``n`` of these).

    The engine reads of ``params`` what concerns tokens; stop texts are matched by whoever turns
    tokens into text, which then aborts the request. Whatever they leave open is neutral here: a
    host that knows what the model recommends has filled it in.
    """

    id: str
    prompt_token_ids: tuple[int, ...]
    params: SamplingParams
    seed: int = 0
    """Drawn or derived by the host; with the position it fixes every random choice."""
    priority: int = 0
    """Lower runs sooner."""
    tenant: str = ""
    """The tenant who asks. Tenants never share blocks of the prefix cache."""
    cache_salt: str = ""
    """Within a tenant, requests of another salt share no blocks either."""
    adapter: str = ""
    """Name of the adapter that answers; empty: the model alone."""
    resumed_token_ids: tuple[int, ...] = ()
    """Answer tokens another engine emitted already; this one goes on behind them."""
    pooling: Pooling | None = None
    """The numbers that are wanted in place of an answer; ``params.max_tokens`` is 0 then."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", self.params.filled())


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Natural-log probability of one token, its rank (1 = likeliest), and the likeliest few."""

    token_id: int
    logprob: float
    rank: int
    top: tuple[tuple[int, float], ...] = ()


@dataclass(slots=True)
class RequestOutput:
    """The output of one step for one request."""

    request_id: str
    token_ids: list[int]
    logprobs: list[TokenLogprob] | None = None
    """One for each of ``token_ids``, where ``params.logprobs`` asks for them."""
    prompt_logprobs: list[TokenLogprob | None] | None = None
    """Once, with the first output: one for each prompt token, ``None`` for the first."""
    finish_reason: FinishReason | None = None
    stop_token_id: int | None = None
    """The end-of-sequence or stop token that ended the answer."""
    error: str | None = None
    num_cached_tokens: int = 0
    """Prompt tokens whose KV came from the prefix cache."""
    pooled: bytes | None = None
    """The numbers that ``pooling`` asks for, once: float32, little-endian."""
    num_accepted: int = 0
    """Drafted tokens that this step took into the answer."""
    num_rejected: int = 0
    """Drafted tokens that it did not."""

    def add(self, later: RequestOutput) -> None:
        """Takes in the output of a later step for the same request."""
        self.token_ids += later.token_ids
        if later.logprobs is not None:
            self.logprobs = [*(self.logprobs or ()), *later.logprobs]
        if later.prompt_logprobs is not None:
            self.prompt_logprobs = later.prompt_logprobs
        if later.pooled is not None:
            self.pooled = later.pooled
        self.finish_reason, self.stop_token_id = later.finish_reason, later.stop_token_id
        self.error, self.num_cached_tokens = later.error, later.num_cached_tokens
        self.num_accepted += later.num_accepted
        self.num_rejected += later.num_rejected
