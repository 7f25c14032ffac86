"""Renders one chat template in a limited process. Knows nothing of messages or models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unisono.core.errors import CheckpointError, InvalidRequestError
from unisono.text.limited.process import LimitBrokenError, Limits
from unisono.text.limited.program import LimitedProgram

_PROGRAM = Path(__file__).with_name("program.py")


class TemplateFailedError(InvalidRequestError):
    """An operation of the template went wrong over these variables."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TemplateLimits(Limits):
    cpu_s_per_byte: float = 0.25e-6
    max_output_chars: int = 16 << 20


class TemplateProcess:
    """The process starts with the first call and again after one that broke a limit, and ends with
    this object.
    """

    def __init__(self, template: str, limits: TemplateLimits | None = None) -> None:
        self._limits = limits or TemplateLimits()
        self._program = LimitedProgram(
            "chat template",
            _PROGRAM,
            {"template": template},
            limits=self._limits,
            imports=("jinja2", "markupsafe"),
            check=self._check,
        )

    def start(self) -> None:
        """Starts the process and compiles the template, unless that is done.

        Raises:
            CheckpointError: it does not compile within the limits.
            HelperFailedError: the process was killed or stopped, twice.
        """
        try:
            self._program.start()
        except LimitBrokenError as error:
            raise _does_not_compile(self._too_much()) from error

    def render(self, variables: Mapping[str, Any]) -> str:
        """The text that the template makes of ``variables``.

        Raises:
            TemplateFailedError: an operation of the template went wrong.
            InvalidRequestError: variables are not JSON data, the template raised an error, or it
                broke a limit.
            CheckpointError: the template does not compile.
            HelperFailedError: the process was killed or stopped, twice.
        """
        content = _to_json(variables)
        self.start()
        try:
            reply = json.loads(self._program.ask(content))
        except LimitBrokenError as error:
            raise _failed(InvalidRequestError, self._too_much()) from error
        if "text" in reply:
            return str(reply["text"])
        message = str(reply.get("message", ""))
        if reply["error"] == "raised":
            raise InvalidRequestError(message, param="messages")
        if reply["error"] == "failed":
            raise _failed(TemplateFailedError, f"failed with {message.rstrip('.')}")
        most = self._limits.max_output_chars
        raise _failed(InvalidRequestError, f"wrote more than {most} characters")

    @staticmethod
    def _check(greeting: bytes) -> None:
        reply = json.loads(greeting)
        if "error" in reply:
            raise _does_not_compile(f"failed with {str(reply['message']).rstrip('.')}")

    def _too_much(self) -> str:
        limits = self._limits
        return (
            f"took more than {limits.max_cpu_s:g} s of computing or "
            f"{limits.max_memory_bytes >> 20} MiB of memory"
        )


def _failed(kind: type[InvalidRequestError], what: str) -> InvalidRequestError:
    return kind(
        f"The model's chat template {what}.",
        param="messages",
        hint="Check roles and contents of the messages, or shorten them.",
    )


def _does_not_compile(what: str) -> CheckpointError:
    return CheckpointError(
        f"The model's chat template does not compile: it {what}.",
        hint="Repair chat_template in the model folder, or use plain completion.",
    )


def _to_json(value: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(
            f"messages, tools and template arguments must be plain JSON data: {str(error)[:200]}."
        ) from error
