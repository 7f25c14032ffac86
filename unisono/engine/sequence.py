"""The engine's own view of one request while it is in flight."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from unisono.core.batch import BatchRow, RowResult
from unisono.core.request import Request, RequestOutput, TokenLogprob
from unisono.engine.variant import Variant


@dataclass(kw_only=True, slots=True, eq=False)
class Sequence:
    """Mutable. ``token_ids`` is prompt and answer; the first ``num_computed`` are in the cache."""

    request: Request
    arrival: int
    arrival_s: float
    max_tokens: int
    token_ids: list[int] = field(init=False)
    num_computed: int = 0
    num_charged: int = 0
    """Tokens that its tenant has been charged for."""
    num_cached: int = 0
    num_taken: int = 0
    """Tokens it found in the cache when it was last admitted; none where ``takes_cached`` is
    off."""
    takes_cached: bool = True
    refused_at: int = -1
    """Blocks that were free when it last did not fit."""
    variant: Variant = field(init=False)
    """Sequences of different ones share no blocks."""
    block_keys: list[bytes] = field(default_factory=list)
    """Names of the content of its full blocks; the KV cache fills them as far as it needs."""
    wants_prompt_logprobs: bool = field(init=False)
    prompt_logprobs: list[TokenLogprob | None] = field(default_factory=lambda: [None])
    pooled_parts: list[bytes] = field(default_factory=list)
    """Sums of hidden states, one a chunk, where all of them are pooled."""

    def __post_init__(self) -> None:
        request = self.request
        self.token_ids = [*request.prompt_token_ids, *request.resumed_token_ids]
        self.variant = Variant(
            tenant=request.tenant, cache_salt=request.cache_salt, adapter=request.adapter
        )
        self.wants_prompt_logprobs = request.params.prompt_logprobs is not None

    @property
    def id(self) -> str:
        return self.request.id

    @property
    def rank(self) -> tuple[int, int]:
        """Smaller runs sooner and is preempted later, among those of one tenant."""
        return self.request.priority, self.arrival

    @property
    def num_prompt(self) -> int:
        return len(self.request.prompt_token_ids)

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

    @property
    def needs_logits(self) -> bool:
        """True where something is read from the logits behind its last token."""
        pooling = self.request.pooling
        return self.max_tokens > 0 or (pooling is not None and pooling.needs_logits)

    @property
    def reads_all(self) -> bool:
        """True where every token of its prompt is to be computed, whatever the cache has."""
        pooling = self.request.pooling
        return self.wants_prompt_logprobs or (pooling is not None and pooling.reads_all)

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
        self.pooled_parts = []

    def row(self, count: int, block_tables: list[list[int]]) -> BatchRow:
        """The next ``count`` tokens, for a step."""
        start, end = self.num_computed, self.num_computed + count
        request = self.request
        targets: list[int] = []
        if self.wants_prompt_logprobs:
            targets = self.token_ids[start + 1 : min(end + 1, self.num_prompt)]
        return BatchRow(
            request_id=request.id,
            token_ids=self.token_ids[start:end],
            start=start,
            block_tables=block_tables,
            num_logits=int(end == len(self.token_ids) and self.needs_logits),
            params=request.params,
            seed=request.seed,
            num_prompt_tokens=self.num_prompt,
            all_token_ids=self.token_ids,
            prompt_targets=targets,
            allow_stop=self.num_answer >= request.params.min_tokens,
            rope_length=self.variant.rope_length,
            pooling=request.pooling,
            pooled_parts=self.pooled_parts,
            adapter=request.adapter,
        )

    def take(self, result: RowResult, eos_token_ids: frozenset[int]) -> RequestOutput:
        """Grow by the tokens of a step, up to one that stops it; gives what is new."""
        output = RequestOutput(self.id, [], num_cached_tokens=self.num_cached, pooled=result.pooled)
        if self.wants_prompt_logprobs:
            output.prompt_logprobs = self.prompt_logprobs
            self.wants_prompt_logprobs = False
        for token_id in result.token_ids:
            self.token_ids.append(token_id)
            output.token_ids.append(token_id)
            if self._stops_at(token_id, eos_token_ids):
                output.finish_reason, output.stop_token_id = "stop", token_id
                break
            if self.num_answer >= self.max_tokens:
                break
        output.logprobs = result.logprobs[: len(output.token_ids)] or None
        if output.finish_reason is None and self.num_answer >= self.max_tokens:
            output.finish_reason = "length"
        return output

    def _stops_at(self, token_id: int, eos_token_ids: frozenset[int]) -> bool:
        params = self.request.params
        if self.num_answer <= params.min_tokens:
            return False
        is_eos = token_id in eos_token_ids and not params.ignore_eos
        return is_eos or token_id in params.stop_token_ids
