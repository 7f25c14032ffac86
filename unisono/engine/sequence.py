"""The engine's own view of one request while it is in flight."""

from __future__ import annotations

from dataclasses import replace

from unisono.core.request import Request, TokenLogprob
from unisono.engine.variant import Variant

__all__ = ["Sequence"]


class Sequence:
    """Mutable. ``token_ids`` is prompt and answer; the first ``num_computed`` are in the cache.

    ``block_keys`` name the content of its full blocks; the KV cache fills them as far as it needs.
    Smaller ``rank`` runs sooner and is preempted later, among those of one tenant; ``num_charged``
    is how many of its tokens its tenant has been charged for; ``refused_at`` is how many blocks
    were free when it last did not fit; ``num_taken`` is how many tokens it found in the cache when
    it was last admitted, none where ``takes_cached`` is off; sequences of different ``variant``
    share no blocks.
    """

    __slots__ = (
        "arrival",
        "arrival_s",
        "block_keys",
        "id",
        "max_tokens",
        "num_cached",
        "num_charged",
        "num_computed",
        "num_prompt",
        "num_taken",
        "prompt_logprobs",
        "rank",
        "refused_at",
        "request",
        "takes_cached",
        "token_ids",
        "variant",
        "wants_prompt_logprobs",
    )

    def __init__(self, request: Request, *, arrival: int, arrival_s: float, max_tokens: int):
        self.request = request
        self.id = request.id
        self.arrival = arrival
        self.rank = (request.priority, arrival)
        self.arrival_s = arrival_s
        self.max_tokens = max_tokens
        self.token_ids = [*request.prompt_token_ids, *request.resumed_token_ids]
        self.num_prompt = len(request.prompt_token_ids)
        self.num_computed = 0
        self.num_charged = 0
        self.num_cached = 0
        self.num_taken = 0
        self.takes_cached = True
        self.refused_at = -1
        self.variant = Variant(tenant=request.tenant, cache_salt=request.cache_salt)
        self.block_keys: list[bytes] = []
        self.wants_prompt_logprobs = request.params.prompt_logprobs is not None
        self.prompt_logprobs: list[TokenLogprob | None] = [None]

    @property
    def tenant(self) -> str:
        return self.request.tenant

    @property
    def num_answer(self) -> int:
        return len(self.token_ids) - self.num_prompt

    @property
    def num_pending(self) -> int:
        """Tokens known but not yet in the cache."""
        return len(self.token_ids) - self.num_computed

    def rotate_for(self, length: int) -> bool:
        """True where that is another length than before; then nothing cached is of use."""
        if length == self.variant.rope_length:
            return False
        self.variant = replace(self.variant, rope_length=length)
        self.block_keys = []
        return True

    def restart(self) -> None:
        """Its blocks are gone: everything is to be computed again."""
        self.num_computed = 0
        self.prompt_logprobs = [None]
