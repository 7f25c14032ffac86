"""Lines of log-probabilities say the same of a token, whatever else is asked for beside it."""

from __future__ import annotations

import pytest
import torch

from unisono.engine.sampling.logprobs import logprob_lines, read_logprobs


@pytest.mark.parametrize("num_tokens", [3, 50, 5000])
def test_equally_likely_tokens_are_chosen_alike_however_many_another_row_asks_for(
    num_tokens: int,
) -> None:
    numbers = torch.Generator().manual_seed(0)
    tied = torch.randint(-20, 0, (4, num_tokens), generator=numbers).float()
    targets = torch.tensor([0, 1, 2, 0])
    most = read_logprobs(logprob_lines(tied, targets, 100))
    for num_top in (0, 1, 2, 3, 5, 20):
        for few, many in zip(
            read_logprobs(logprob_lines(tied, targets, num_top)), most, strict=True
        ):
            assert (few.token_id, few.logprob, few.rank) == (
                many.token_id,
                many.logprob,
                many.rank,
            )
            assert few.top == many.top[:num_top]
