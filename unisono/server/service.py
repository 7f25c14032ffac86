"""What the routes share: settings, tokenizer, engine, numbers.

Knows who does what; does little itself.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from unisono.core import Request, errors
from unisono.server.answers import Answers
from unisono.server.api_error import ApiError, bad_request
from unisono.server.guard import Gate
from unisono.server.metrics import Metrics
from unisono.server.outputs import EngineFacts
from unisono.server.prompts import PromptEncoder
from unisono.server.settings import ServerSettings
from unisono.text import Tokenizer

__all__ = ["Engine", "Service"]


class Engine(Protocol):
    """The engine as the routes see it."""

    @property
    def state(self) -> str: ...
    @property
    def facts(self) -> EngineFacts: ...
    @property
    def stats(self) -> Mapping[str, float]: ...
    @property
    def num_in_flight(self) -> int: ...
    @property
    def num_restarts(self) -> int: ...
    async def submit(self, requests: Sequence[Request]) -> Answers: ...


@dataclass(frozen=True)
class Service:
    settings: ServerSettings
    engine: Engine
    tokenizer: Tokenizer
    encoder: PromptEncoder
    metrics: Metrics
    gate: Gate = field(default_factory=Gate)
    created_s: int = field(default_factory=lambda: int(time.time()))

    def check_model(self, name: str | None) -> None:
        """Raises:
        ApiError: no such model is served here.
        """
        if name is not None and name not in self.settings.model_names:
            served = ", ".join(repr(known) for known in self.settings.model_names)
            message = f"There is no such model here. This server has {served}."
            raise ApiError(404, message, param="model", code="model_not_found")

    def check_room(self, num_answers: int) -> None:
        """Refuses before any work is done, so that a full server stays quick.

        Raises:
            ApiError: more answers than one request may ask for.
            QueueFullError: the engine has all that it may hold.
        """
        limits = self.settings.limits
        if num_answers > limits.answers:
            raise bad_request(f"At most {limits.answers} answers in one request.", param="n")
        config = self.settings.engine
        if self.engine.num_in_flight + num_answers > config.max_queue + config.max_num_seqs:
            raise errors.QueueFullError(
                "The queue is full.", retry_after_s=5, hint="Try again in a few seconds."
            )

    def head(self, kind: str) -> dict[str, Any]:
        """``id``, ``created`` and ``model`` of a new response."""
        return {
            "id": f"{kind}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": self.settings.model_name,
        }
