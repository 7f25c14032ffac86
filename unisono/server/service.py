"""The state that routes share: settings, tokenizer, engine, numbers.

Knows who does what; does little itself.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request as HttpRequest

from unisono.core import errors
from unisono.core.sampling import SamplingParams
from unisono.server.api_error import ApiError, bad_request
from unisono.server.batches.batches import Batches
from unisono.server.engine.supervisor import EngineSupervisor
from unisono.server.http.body_reader import BodyReader
from unisono.server.http.guard import Gate
from unisono.server.metrics import Metrics
from unisono.server.openai.body_model import UnknownFields
from unisono.server.openai.constraint_checks import ConstraintChecks
from unisono.server.openai.prompts import PromptEncoder
from unisono.server.openai.request_schema import SamplingFields
from unisono.server.openai.validation import Model, validate
from unisono.server.responses.conversations import Conversations
from unisono.server.settings import ServerSettings
from unisono.text.parsers.reading import AnswerReader
from unisono.text.pooled_inputs import PooledInputs
from unisono.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Service:
    settings: ServerSettings
    engine: EngineSupervisor
    tokenizer: Tokenizer
    encoder: PromptEncoder
    reader: AnswerReader
    constraints: ConstraintChecks
    metrics: Metrics
    bodies: BodyReader
    unknown_fields: UnknownFields
    responses: Conversations
    pooled: PooledInputs
    batches: Batches | None = None
    gate: Gate = field(default_factory=Gate)
    created_s: int = field(default_factory=lambda: int(time.time()))

    async def read(self, request: HttpRequest, model: type[Model]) -> Model:
        """Raises:
        ApiError: as ``BodyReader.read`` and ``validate`` say, or no such model is served here.
        """
        most = self.settings.limits.messages
        body = await self.bodies.read(
            request,
            lambda value: validate(value, model, self.unknown_fields, most_messages=most),
        )
        self.check_model(body.model)
        return body

    def close(self) -> None:
        """Ends threads and processes."""
        self.bodies.close()
        self.encoder.close()
        self.constraints.close()
        self.responses.close()
        if self.batches is not None:
            self.batches.close()

    def check_model(self, name: str | None) -> None:
        """Without a name the model that is served is meant.

        Raises:
            ApiError: no such model is served here.
        """
        if name and name not in self.settings.model_names and name not in self.engine.adapters:
            served = ", ".join(map(repr, self.model_names))
            message = f"There is no such model here. This server has {served}."
            raise ApiError(404, message, param="model", code="model_not_found")

    @property
    def model_names(self) -> list[str]:
        """Every name that ``model`` may have."""
        return [*self.settings.model_names, *self.engine.adapters.names]

    def adapter(self, name: str | None) -> str:
        """The adapter that a request's ``model`` names; empty: the model alone."""
        return name if name is not None and name in self.engine.adapters else ""

    def check_room(self, num_answers: int, tenant: str) -> None:
        """Refuses before any work is done, so that a full server stays quick. A tenant has an equal
        share beside others that are in flight, and all alone.

        Raises:
            ApiError: more answers than one request may ask for.
            QueueFullError: the engine has all that it may hold.
        """
        limits = self.settings.limits
        if num_answers > limits.answers:
            raise bad_request(f"At most {limits.answers} answers in one request.", param="n")
        config = self.settings.engine
        room = (config.max_queue + config.max_num_seqs) // self.engine.num_tenants(besides=tenant)
        if self.engine.num_in_flight_of(tenant) + num_answers > room:
            raise errors.QueueFullError(
                "The queue is full.", retry_after_s=5, hint="Try again in a few seconds."
            )

    def truncated(
        self, token_ids: Sequence[int], params: SamplingParams, body: SamplingFields
    ) -> Sequence[int]:
        """The end of a prompt that the client lets be cut; -1 keeps as much as the context
        holds beside the answer.

        Raises:
            ApiError: nothing is to be left, or more than the context holds.
        """
        most, length = body.truncate_prompt_tokens, self.engine.facts.max_model_len
        if most is None:
            return token_ids
        if most == 0 or most > length:
            message = f"Keep 1 to {length} tokens: this model's maximum context length is {length}."
            raise bad_request(message, param="truncate_prompt_tokens")
        if most < 0:
            answer = 1 if params.max_tokens is None else params.max_tokens
            most = max(1, length - answer)
        return token_ids[:most] if body.truncation_side == "right" else token_ids[-most:]

    def head(self, kind: str, model: str | None) -> dict[str, Any]:
        """``id``, ``created`` and ``model`` of a new response to a request for ``model``."""
        return {
            "id": f"{kind}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": self.adapter(model) or self.settings.model_name,
        }
