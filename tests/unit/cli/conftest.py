"""A stand-in for the engine, so that the command line is tested without torch."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from unisono.cli import answering
from unisono.core.config import EngineConfig
from unisono.core.errors import InvalidRequestError
from unisono.core.sampling import SamplingParams
from unisono.core.sampling_defaults import SamplingDefaults
from unisono.text.answer import AnswerDelta
from unisono.text.parts import Content


@dataclass
class FakePrompt:
    text: str

    @property
    def token_ids(self) -> list[int]:
        return [ord(char) for char in self.text]


@dataclass
class FakeInfo:
    device: str = "cpu"
    dtype: str = "float32"
    max_model_len: int = 2048
    kv_bytes: int = 1024
    note: str = "this could be faster."


class FakeEngine:
    info = FakeInfo()


class FakeLLM:
    """Answers with ``words``; remembers what it was asked."""

    last: FakeLLM
    words: tuple[str, ...] = ("Hello", " [bold]world[/bold]", "!")
    fail: Callable[[int], None] | None = None
    has_template = True
    recommended = SamplingDefaults()

    def __init__(self, model: str, config: EngineConfig, **options: Any) -> None:
        self.model = model
        self.options = {**asdict(config), **options}
        self.engine = FakeEngine()
        self.sampling_defaults = self.recommended
        self.prompts: list[str] = []
        self.params: list[SamplingParams] = []
        self.conversations: list[list[dict[str, str]]] = []
        self.closed = 0
        FakeLLM.last = self

    def encode(self, text: str) -> FakePrompt:
        return FakePrompt(text)

    def encode_chat(
        self,
        messages: list[dict[str, str]],
        tools: list[Any] | None = None,
        *,
        tool_choice: str = "auto",
    ) -> FakePrompt:
        if not self.has_template:
            raise InvalidRequestError("This model has no chat template.")
        self.conversations.append([dict(message) for message in messages])
        return FakePrompt("".join(message["content"] for message in messages))

    def stream(
        self, prompt: FakePrompt, params: SamplingParams, *, adapter: str | None = None
    ) -> Iterator[AnswerDelta]:
        self.prompts.append(prompt.text)
        self.params.append(params)
        try:
            for index, word in enumerate(self.words):
                if FakeLLM.fail is not None:
                    FakeLLM.fail(index)
                last = index == len(self.words) - 1
                yield AnswerDelta(
                    parts=(Content(word),),
                    token_ids=[index],
                    finish_reason="stop" if last else None,
                )
        finally:
            self.closed += 1


@dataclass
class Outcome:
    code: int
    out: str
    err: str


@dataclass
class Program:
    """Runs the program in this process, as a user would from a shell."""

    capture: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *words: str) -> Outcome:
        from unisono.cli.app import app

        self.capture.readouterr()
        try:
            app(list(words), prog_name="unisono")
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        captured = self.capture.readouterr()
        return Outcome(code, captured.out, captured.err)


@pytest.fixture
def fake_llm(monkeypatch: pytest.MonkeyPatch) -> type[FakeLLM]:
    module = types.ModuleType("unisono.llm")
    module.LLM = FakeLLM  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "unisono.llm", module)
    monkeypatch.setattr(answering, "resolve_model", lambda name, revision: Path(name or "demo"))
    return FakeLLM


@pytest.fixture
def program(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, fake_llm: type[FakeLLM]
) -> Program:
    monkeypatch.delenv("UNISONO_DEBUG", raising=False)
    return Program(capsys, monkeypatch)
