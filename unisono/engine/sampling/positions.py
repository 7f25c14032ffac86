"""The positions of a row that get a token each, as rows by themselves, and what they come to.

A token is drawn behind every drafted one as if that had been the answer's own. A draft is accepted
exactly when it is the token that was drawn in its place, so the answer is the same as without
drafts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from unisono.core.batch import BatchRow, RowResult


def positions(rows: Sequence[BatchRow]) -> list[BatchRow]:
    """Rows with one logit each, in order, for those that may have several or none."""
    if all(row.num_logits == 1 for row in rows):
        return list(rows)
    return [position for row in rows for position in _positions(row)]


def _positions(row: BatchRow) -> Iterator[BatchRow]:
    params, drafts = row.params, list(row.drafts)
    num_answer = len(row.all_token_ids) - row.num_prompt_tokens
    is_read = params.has_penalties or params.constraint is not None
    for count in range(row.num_logits):
        if not row.num_drafted:
            yield row
            continue
        yield replace(
            row,
            token_ids=row.token_ids[: len(row.token_ids) - len(drafts) + count],
            num_logits=1,
            all_token_ids=[*row.all_token_ids, *drafts[:count]] if is_read else row.all_token_ids,
            allow_stop=row.allow_stop or num_answer + count >= params.min_tokens,
            spare_blocks=(),
        )


def accept(rows: Sequence[BatchRow], chosen: Sequence[RowResult]) -> list[RowResult]:
    """One result a row, given those of its positions."""
    results, at = [], 0
    for row in rows:
        found = chosen[at : at + row.num_logits]
        results.append(found[0] if len(found) == 1 else _accept(row, found))
        at += row.num_logits
    return results


def _accept(row: BatchRow, found: Sequence[RowResult]) -> RowResult:
    """Tokens up to the first that was not the draft. A position that failed ends them too: the next
    step, which begins there, fails in the same way."""
    total = RowResult()
    for draft, result in zip((*row.drafts, None), found, strict=True):
        if result.error is not None:
            return total if total.token_ids else result
        total.token_ids += result.token_ids
        total.logprobs += result.logprobs
        if result.token_ids != [draft]:
            break
    return total
