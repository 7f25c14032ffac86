"""Turns chats into padded batches of token ids, with the positions that the loss looks at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import torch
from tokenizers import Tokenizer

from .conversation import Message, converse
from .vocabulary import END_OF_TEXT, TURN_END, TURN_START

TOKENS_PER_BATCH = 2048
MESSAGE_TOKEN_RATE = 0.15
"""Share of the tokens outside the answers that are learned too, so that language is learned."""
MESSAGE_TOKEN_WEIGHT = 0.5

_POOL = 800


@dataclass(frozen=True)
class Chat:
    """Token ids of a chat; `weights[i]` is the loss weight of predicting `ids[i]`."""

    ids: list[int]
    weights: list[float]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """ids [rows, length]; positions, targets, weights [n]: what the loss looks at, flattened."""

    ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    num_tokens: int


class ChatEncoder:
    """Encodes chats exactly as the chat template would."""

    def __init__(self, tokenizer: Tokenizer, rng: Random) -> None:
        self._tokenizer = tokenizer
        self._rng = rng
        self.pad: int = tokenizer.token_to_id(END_OF_TEXT)

    def encode(self, messages: list[Message]) -> Chat:
        ids: list[int] = []
        weights: list[float] = []
        for message in messages:
            self._append(f"{TURN_START}{message['role']}\n", False, ids, weights)
            answer = message["role"] == "assistant"
            self._append(message["content"] + TURN_END, answer, ids, weights)
            self._append("\n", False, ids, weights)
        return Chat(ids, weights)

    def _append(self, text: str, answer: bool, ids: list[int], weights: list[float]) -> None:
        new = self._tokenizer.encode(text, add_special_tokens=False).ids
        ids += new
        weights += [1.0 if answer else self._message_weight() for _ in new]

    def _message_weight(self) -> float:
        return MESSAGE_TOKEN_WEIGHT if self._rng.random() < MESSAGE_TOKEN_RATE else 0.0


def _to_batch(chats: list[Chat], pad: int) -> Batch:
    length = max(len(chat.ids) for chat in chats)
    ids = torch.full((len(chats), length), pad)
    weights = torch.zeros(len(chats), length)
    for row, chat in enumerate(chats):
        ids[row, : len(chat.ids)] = torch.tensor(chat.ids)
        weights[row, : len(chat.ids)] = torch.tensor(chat.weights)
    weights[:, 0] = 0.0
    learned = weights.view(-1).nonzero().view(-1)
    return Batch(
        ids=ids,
        positions=learned - 1,
        targets=ids.view(-1)[learned],
        weights=weights.view(-1)[learned],
        num_tokens=sum(len(chat.ids) for chat in chats),
    )


def _packed(chats: list[Chat], pad: int) -> list[Batch]:
    """Chats of like length share a batch, so little is padding."""
    batches: list[Batch] = []
    group: list[Chat] = []
    for chat in sorted(chats, key=lambda chat: len(chat.ids)):
        if group and len(chat.ids) * (len(group) + 1) > TOKENS_PER_BATCH:
            batches.append(_to_batch(group, pad))
            group = []
        group.append(chat)
    return batches


def training_batches(tokenizer: Tokenizer, seed: int) -> Iterator[Batch]:
    """Endless batches; the same seed gives the same batches."""
    rng = Random(seed)
    encoder = ChatEncoder(tokenizer, Random(seed + 1))
    while True:
        chats = [encoder.encode(converse(rng)) for _ in range(_POOL)]
        batches = _packed(chats, encoder.pad)
        rng.shuffle(batches)
        yield from batches
