"""Edits of logits that requests ask for before a token is chosen: penalties, biases, allowed
and forbidden tokens, masks of constraints; in one operation of each kind for all rows of a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from unisono.core.batch import BatchRow
from unisono.engine.parcel import Parcel
from unisono.engine.sampling.constraints import Masks

Found = tuple[Tensor, Tensor]
"""Token ids of a row, int64 [N], and an amount for each, float32 [N], or none [0]."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One kind of edit; ``places`` and ``amounts`` say where they are in what was sent."""

    change: Callable[[Tensor, Tensor, Tensor], None]
    places: int
    amounts: int

    def apply(self, logits: Tensor, sent: list[Tensor]) -> None:
        """Change logits float32 [R, V] in place."""
        self.change(logits, sent[self.places], sent[self.amounts])


def pack_edits(
    rows: Sequence[BatchRow],
    vocab_size: int,
    eos_token_ids: Iterable[int],
    masks: Masks | None,
    parcel: Parcel,
) -> list[Edit]:
    """The edits that rows want, in the order in which they act; what they need on the device is
    added to the parcel."""
    edits = _edits(rows, vocab_size, eos_token_ids, parcel)
    if masks is not None and masks.rows:
        edits.append(Edit(_mask, parcel.add(masks.rows), parcel.add(masks.words.flatten())))
    return edits


def _edits(
    rows: Sequence[BatchRow], vocab_size: int, eos_token_ids: Iterable[int], parcel: Parcel
) -> list[Edit]:
    edited = [(i, row) for i, row in enumerate(rows) if _is_edited(row)]
    if not edited:
        return []
    kinds = (
        (_repeated, _penalise),
        (_counted, _add),
        (_biased, _add),
        (_allowed, _keep),
        (partial(_forbidden, eos_token_ids), _drop),
    )
    edits = []
    for find, change in kinds:
        found = [(i, *of_row) for i, row in edited if (of_row := find(row)) is not None]
        if found:
            places = torch.cat([i * vocab_size + token_ids for i, token_ids, _ in found])
            amounts = torch.cat([amounts for _, _, amounts in found])
            edits.append(Edit(change, parcel.add(places), parcel.add(amounts, real=True)))
    return edits


_NONE = torch.empty(0)


def _is_edited(row: BatchRow) -> bool:
    params = row.params
    limited = params.allowed_token_ids is not None or not row.allow_stop
    return limited or bool(params.logit_bias) or params.has_penalties


def _repeated(row: BatchRow) -> Found | None:
    penalty = row.params.repetition_penalty
    if penalty in (None, 1.0):
        return None
    seen = torch.unique(torch.tensor(row.all_token_ids))
    return seen, torch.full(seen.shape, penalty, dtype=torch.float32)


def _counted(row: BatchRow) -> Found | None:
    params = row.params
    if not params.presence_penalty and not params.frequency_penalty:
        return None
    answer = torch.tensor(row.all_token_ids[row.num_prompt_tokens :], dtype=torch.int64)
    token_ids, counts = torch.unique(answer, return_counts=True)
    return token_ids, -(params.presence_penalty + params.frequency_penalty * counts.float())


def _biased(row: BatchRow) -> Found | None:
    bias = row.params.logit_bias
    if not bias:
        return None
    return torch.tensor(list(bias)), torch.tensor(list(bias.values()), dtype=torch.float32)


def _allowed(row: BatchRow) -> Found | None:
    allowed = row.params.allowed_token_ids
    return None if allowed is None else (torch.tensor(allowed), _NONE)


def _forbidden(eos_token_ids: Iterable[int], row: BatchRow) -> Found | None:
    if row.allow_stop:
        return None
    stops = (*eos_token_ids, *row.params.stop_token_ids)
    return (torch.tensor(stops), _NONE) if stops else None


def _penalise(logits: Tensor, places: Tensor, penalties: Tensor) -> None:
    flat = logits.view(-1)
    values = flat[places]
    flat[places] = torch.where(values > 0, values / penalties, values * penalties)


def _add(logits: Tensor, places: Tensor, amounts: Tensor) -> None:
    logits.view(-1).index_add_(0, places, amounts)


def _keep(logits: Tensor, places: Tensor, _: Tensor) -> None:
    """Nothing else stays of a row that has any of the places."""
    flat = logits.view(-1)
    kept = flat[places]
    logits.index_fill_(0, places // logits.shape[1], float("-inf"))
    flat[places] = kept


def _mask(logits: Tensor, rows: Tensor, words: Tensor) -> None:
    """In ``rows`` [N] those tokens stay whose bits are set in ``words`` [N * W]."""
    octets = words.view(torch.uint8).view(rows.shape[0], -1, 1)
    bits = torch.ones(8, dtype=torch.uint8, device=words.device)
    bits = bits << torch.arange(8, dtype=torch.uint8, device=words.device)
    is_out = (octets & bits).flatten(1)[:, : logits.shape[1]] == 0
    logits.index_copy_(0, rows, logits.index_select(0, rows).masked_fill_(is_out, float("-inf")))


def _drop(logits: Tensor, places: Tensor, _: Tensor) -> None:
    logits.view(-1).index_fill_(0, places, float("-inf"))
