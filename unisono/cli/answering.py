"""Shared by ``run`` and ``chat``: load a model, stream an answer, keep its figures.

Speaks to the ``LLM`` facade alone and prints no answer itself.
"""

from __future__ import annotations

import gc
import json
import re
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from unisono.cli.options import MOST_TOKENS
from unisono.cli.shown_text import middle_dot, tell
from unisono.core.collector import without_collector
from unisono.core.config import EngineConfig
from unisono.core.errors import InvalidRequestError
from unisono.core.sampling import SamplingParams
from unisono.core.sampling_defaults import NEUTRAL, SamplingDefaults
from unisono.hub.model_role import read_role
from unisono.hub.resolving import resolve_model
from unisono.text.answer import Answer, AnswerDelta
from unisono.text.parts import Content, Reasoning, ToolCall

if TYPE_CHECKING:
    from unisono.llm import LLM, EncodedPrompt

_DEMO = "built-in demo model"
_ADAPTER = "adapter"
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass
class Loaded:
    """A model that is ready, and how long that took."""

    name: str
    llm: LLM
    load_s: float
    adapter: str | None = None
    """Name of the adapter that answers."""

    def fill(self, params: SamplingParams, fallback: SamplingDefaults) -> SamplingParams:
        """``params``, with what the model recommends, or ``fallback``, where they say nothing."""
        return params.filled(self.llm.sampling_defaults.or_else(fallback)).filled()


def start_model(
    name: str | None,
    engine: EngineConfig,
    *,
    revision: str | None,
    generation_config: str,
    adapter: Path | None,
) -> Loaded:
    """Import the engine and load model ``name`` for one request a time, with an adapter where one
    is given."""
    began = time.perf_counter()
    folder = resolve_model(name, revision=revision)
    read_role(folder, engine.task).check("generate")
    with _notice(f"loading {name or _DEMO} ...") as add, without_collector():
        from unisono.llm import LLM

        llm = LLM(
            str(folder),
            replace(engine, max_num_seqs=1),
            generation_config=generation_config,
            progress=lambda share: add(f"quantising weights, {share:.0%}"),
        )
        if adapter is not None:
            llm.load_adapter(_ADAPTER, adapter)
        gc.freeze()
    used = None if adapter is None else _ADAPTER
    return Loaded(name or _DEMO, llm, time.perf_counter() - began, used)


class TimedAnswer:
    """One answer while it comes, and its times when it is complete."""

    def __init__(self, loaded: Loaded, params: SamplingParams) -> None:
        self.loaded = loaded
        self.params = params
        self.whole = Answer()
        self.num_prompt_tokens = 0
        self.first_token_s = 0.0
        self.total_s = 0.0

    def to_prompt(self, text: str) -> Generator[AnswerDelta, None, None]:
        """Continue ``text`` as it stands: what follows is text behind it, with its first space."""
        return self._stream(self.loaded.llm.encode(text))

    def to_chat(
        self,
        messages: list[dict[str, str]],
        tools: list[dict[str, Any]] | None = None,
        tool_choice: str = "auto",
    ) -> Generator[AnswerDelta, None, None]:
        """Answer the last of ``messages``."""
        llm = self.loaded.llm
        try:
            prompt = llm.encode_chat(messages, tools, tool_choice=tool_choice)
        except InvalidRequestError as error:
            hint = f"{error.hint} `unisono run --raw` continues a prompt without a chat template."
            raise InvalidRequestError(error.message, hint=hint.strip()) from error
        return self._stream(prompt)

    def _stream(self, prompt: EncodedPrompt) -> Generator[AnswerDelta, None, None]:
        """Closing the iterator ends the request."""
        self.num_prompt_tokens = len(prompt.token_ids)
        began = time.perf_counter()
        params = self._params_behind(self.num_prompt_tokens)
        stream = self.loaded.llm.stream(prompt, params, adapter=self.loaded.adapter)
        with closing(stream) as deltas:
            for delta in deltas:
                self.total_s = time.perf_counter() - began
                if not self.whole.token_ids:
                    self.first_token_s = self.total_s
                self.whole.add(delta)
                yield delta

    def _params_behind(self, num_prompt_tokens: int) -> SamplingParams:
        """The parameters; where they leave the length open, with one that fits."""
        if self.params.max_tokens is not None:
            return self.params
        room = self.loaded.llm.engine.info.max_model_len - num_prompt_tokens
        return replace(self.params, max_tokens=max(1, min(MOST_TOKENS, room)))

    @property
    def tokens_per_s(self) -> float:
        """Tokens after the first, over the time after the first."""
        after_first = self.total_s - self.first_token_s
        return (len(self.whole.token_ids) - 1) / after_first if after_first > 0 else 0.0


def print_calls(calls: Sequence[ToolCall]) -> None:
    """Calls of functions, each as JSON in a line of its own."""
    for call in calls:
        show(f"{json.dumps(_plain(call), ensure_ascii=False)}\n")


def _plain(call: ToolCall) -> dict[str, Any]:
    """A call; arguments that break off stay the text that they are."""
    try:
        arguments = json.loads(call.arguments)
    except ValueError:
        arguments = call.arguments
    return {"name": call.name, "arguments": arguments}


def print_json(answer: TimedAnswer) -> None:
    """One JSON object on standard output."""
    info = answer.loaded.llm.engine.info
    num_prompt, num_answer = answer.num_prompt_tokens, len(answer.whole.token_ids)
    record = {
        "model": answer.loaded.name,
        "device": info.device,
        "dtype": info.dtype,
        "kv_memory": info.kv_bytes,
        "note": info.note,
        "text": answer.whole.text,
        **(
            {"tool_calls": [_plain(call) for call in calls]}
            if (calls := answer.whole.tool_calls)
            else {}
        ),
        **({"reasoning": reasoning} if (reasoning := answer.whole.reasoning) else {}),
        "token_ids": answer.whole.token_ids,
        "finish_reason": answer.whole.finish_reason,
        "sampling": answer.params.chosen().said(),
        "usage": {
            "prompt_tokens": num_prompt,
            "completion_tokens": num_answer,
            "total_tokens": num_prompt + num_answer,
        },
        "timings": {
            "load_s": round(answer.loaded.load_s, 4),
            "first_token_s": round(answer.first_token_s, 4),
            "total_s": round(answer.total_s, 4),
            "tokens_per_s": round(answer.tokens_per_s, 2),
        },
    }
    typer.echo(json.dumps(record, ensure_ascii=False))


def print_statistics(answer: TimedAnswer) -> None:
    """One line on standard error."""
    parts = [f"{answer.num_prompt_tokens} tokens in, {len(answer.whole.token_ids)} out"]
    if answer.whole.token_ids:
        parts.append(f"first after {answer.first_token_s:.2f} s")
    if len(answer.whole.token_ids) > 1:
        parts.append(f"{answer.tokens_per_s:.1f} tokens/s")
    parts.append(_sampling(answer.params))
    if answer.whole.finish_reason == "length":
        parts.append("stopped at the most tokens allowed")
    tell(middle_dot(sys.stderr).join(parts), dim=True)


def _sampling(params: SamplingParams) -> str:
    """``"greedy"``, ``"temperature 0.6, top_p 0.95"``: whatever is not neutral."""
    said, neutral = params.chosen().said(), NEUTRAL.said()
    if params.greedy:
        said = {"repetition_penalty": said["repetition_penalty"]}
    parts = [f"{name} {said[name]:g}" for name in said if said[name] != neutral[name]]
    return ", ".join((["greedy"] if params.greedy else []) + parts) or "temperature 1"


def print_note(loaded: Loaded) -> None:
    """Prints one line on standard error about what could be better in the device's set-up."""
    if note := loaded.llm.engine.info.note:
        tell(f"note: {note}", dim=True)


class PartPrinter:
    """Parts of an answer on standard output; reasoning in grey, and on a terminal only."""

    def __init__(self) -> None:
        self._is_thinking = False

    def show(self, delta: AnswerDelta) -> None:
        for part in delta.parts:
            if isinstance(part, Content):
                self.end_reasoning()
                show(part.text)
            elif isinstance(part, Reasoning) and sys.stdout.isatty():
                sys.stdout.write("" if self._is_thinking else "\x1b[2m")
                self._is_thinking = True
                show(part.text)

    def end_reasoning(self) -> None:
        if self._is_thinking:
            self._is_thinking = False
            sys.stdout.write("\x1b[22m\n\n")
            sys.stdout.flush()


def show(text: str) -> None:
    """Model text on standard output, at once; nothing in it can steer a terminal."""
    sys.stdout.write(_CONTROL.sub("\ufffd", text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


@contextmanager
def _notice(text: str) -> Iterator[Callable[[str], None]]:
    """A line on the terminal that vanishes when the work is done; gives a function that puts
    something behind it, in place of what it put there before."""
    if not sys.stderr.isatty():
        yield lambda more: None
        return

    def write(line: str) -> None:
        typer.echo(f"\r\033[K\033[2m{line}\033[0m", err=True, nl=False)

    write(text)
    try:
        yield lambda more: write(f"{text} {more}")
    finally:
        typer.echo("\r\033[K", err=True, nl=False)
