"""One step's work, made by the scheduler and read by the runner (or by a cost model)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from unisono.core.pooling import Pooling
from unisono.core.request import TokenLogprob
from unisono.core.sampling import SamplingParams


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchRow:
    """One sequence's share of a step: the tokens at positions ``start`` and following."""

    request_id: str
    token_ids: Sequence[int]
    start: int
    block_tables: Sequence[Sequence[int]]
    """One list of block ids for each cache group."""
    num_logits: int
    """Number of the last tokens whose logits choose a token: 0 inside a prompt, 1 where the next
    token is sampled, one more for each drafted token, with which ``token_ids`` end."""
    params: SamplingParams
    seed: int
    num_prompt_tokens: int
    all_token_ids: Sequence[int]
    """Prompt and answer so far, without drafts; penalties read it."""
    prompt_targets: Sequence[int] = ()
    """The token after each of ``token_ids``; empty unless prompt log-probabilities are wanted."""
    allow_stop: bool = True
    """False while the answer is shorter than ``min_tokens``."""
    rope_length: int = 0
    """The length that the sequence's positions are rotated for; 0 where that does not matter."""
    pooling: Pooling | None = None
    pooled_parts: Sequence[bytes] = ()
    """Sums of hidden states over the chunks before, where ``pooling`` reads them all."""
    adapter: str = ""
    """Key of the adapter, as it was loaded; empty: none."""
    spare_blocks: Sequence[Sequence[int]] = ()
    """Blocks for the states behind each drafted token, for each cache group that keeps a state; for
    any other group none. Empty where nothing is drafted."""

    @property
    def end(self) -> int:
        """Number of tokens in the cache once the row has run."""
        return self.start + len(self.token_ids)

    @property
    def ends_prompt(self) -> bool:
        return self.end == self.num_prompt_tokens

    @property
    def num_drafted(self) -> int:
        return max(0, self.num_logits - 1)

    @property
    def num_known(self) -> int:
        """Number of tokens in the cache once the row has run, without drafts."""
        return self.end - self.num_drafted

    def drafted(self, drafts: Sequence[int], spare_blocks: Sequence[Sequence[int]]) -> BatchRow:
        """The same with drafts behind its tokens."""
        return replace(
            self,
            token_ids=[*self.token_ids, *drafts],
            num_logits=1 + len(drafts),
            spare_blocks=spare_blocks,
        )

    @property
    def drafts(self) -> Sequence[int]:
        return self.token_ids[len(self.token_ids) - self.num_drafted :]

    @property
    def sample_position(self) -> int:
        """Position of the first token to be sampled, counted from the start of the answer."""
        return self.end - self.num_logits + 1 - self.num_prompt_tokens


@dataclass(frozen=True, slots=True)
class Batch:
    rows: list[BatchRow]

    @property
    def num_tokens(self) -> int:
        return sum(len(row.token_ids) for row in self.rows)


@dataclass(slots=True)
class RowResult:
    """The runner's result for one row; ``error`` fails that request alone."""

    token_ids: list[int] = field(default_factory=list)
    """Accepted tokens: at most ``num_logits`` of the row, at least one where it has any."""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    """One for each of ``token_ids`` where ``params.logprobs`` asks for them, else empty."""
    prompt_logprobs: list[TokenLogprob] = field(default_factory=list)
    error: str | None = None
    pooled: bytes | None = None
    """The numbers that ``pooling`` asks for; inside a prompt, the sum over the row's tokens."""
