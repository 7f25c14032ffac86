"""Messages between the API process and the engine process, in frames (``core.frames``).

Knows messages, nothing of sockets, processes or HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unisono.core.codec import ProtocolError
from unisono.core.config import EngineConfig
from unisono.core.errors import UnisonoError
from unisono.core.request import Request, RequestOutput
from unisono.text.grammar.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Start:
    """The first message: what to load, and how often to say that a step is still computed."""

    folder: Path
    config: EngineConfig
    beat_s: float


@dataclass(frozen=True, slots=True)
class Add:
    """Requests without their prompts, and which of ``prompts`` each has: answers to one prompt,
    which follow one another, carry it once."""

    prompts: list[tuple[int, ...]]
    prompt_indices: list[int]
    requests: list[Request]

    @classmethod
    def of(cls, requests: Sequence[Request]) -> Add:
        """The message that adds ``requests``."""
        message = cls([], [], [])
        for request in requests:
            if not message.prompts or message.prompts[-1] is not request.prompt_token_ids:
                message.prompts.append(request.prompt_token_ids)
            message.prompt_indices.append(len(message.prompts) - 1)
            message.requests.append(replace(request, prompt_token_ids=()))
        return message

    def whole_requests(self) -> list[Request]:
        """Raises:
        ProtocolError: a prompt is missing.
        """
        if len(self.prompt_indices) != len(self.requests) or not all(
            0 <= index < len(self.prompts) for index in self.prompt_indices
        ):
            raise ProtocolError("a request without a prompt")
        return [
            replace(request, prompt_token_ids=self.prompts[index])
            for request, index in zip(self.requests, self.prompt_indices, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Abort:
    request_ids: list[str]


@dataclass(frozen=True, slots=True)
class LoadAdapter:
    """The order to load an adapter; ``number`` names what is asked."""

    number: int
    name: str
    folder: Path


@dataclass(frozen=True, slots=True)
class RemoveAdapter:
    number: int
    name: str


@dataclass(frozen=True, slots=True)
class Done:
    """The answer to what was asked under ``number``; ``error`` says why it was not done."""

    number: int
    error: UnisonoError | None


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineFacts:
    """Facts about the running engine that the API process needs."""

    max_model_len: int
    vocab_size: int
    hidden_size: int = 0
    """Numbers of a vector."""
    note: str = ""
    """Advice about the device's set-up."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded."""

    facts: EngineFacts


@dataclass(frozen=True, slots=True)
class Failed:
    """The reason why the model could not be loaded."""

    error: UnisonoError


@dataclass(frozen=True, slots=True)
class Step:
    """Outputs of the engine's steps, one for each request."""

    outputs: list[RequestOutput]
    rejected: list[tuple[str, UnisonoError]]
    """Ids of requests that were not taken, and why."""
    stats: dict[str, float] | None


@dataclass(frozen=True, slots=True)
class Beat:
    """A step is still computed; about every ``beat_s``."""


TO_ENGINE = (Start, Add, Abort, Vocabulary, LoadAdapter, RemoveAdapter)
FROM_ENGINE = (Ready, Failed, Step, Beat, Done)
