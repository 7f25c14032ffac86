"""Offline use: a model in this process, prompts in, completions out."""

from __future__ import annotations

import itertools
import operator
from array import array
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unisono.core.config import EngineConfig
from unisono.core.constraint import Constraint
from unisono.core.errors import ConfigError, InvalidRequestError, RequestFailedError
from unisono.core.pooling import Pooling
from unisono.core.request import FinishReason, Request, RequestOutput, TokenLogprob
from unisono.core.sampling import SamplingParams
from unisono.core.sampling_defaults import SamplingDefaults
from unisono.engine.building import build_engine
from unisono.hub.generation_config import read_sampling_defaults
from unisono.hub.model_role import read_role
from unisono.hub.resolving import resolve_model
from unisono.offline_pooling import OfflinePooling, PooledRequest
from unisono.text.answer import Answer, AnswerDelta, AnswerStream
from unisono.text.grammar.compiler import GrammarCompiler
from unisono.text.grammar.vocabulary import Vocabulary
from unisono.text.parsers.answer_parser import AnswerParser
from unisono.text.parsers.called_tools import tool_schemas
from unisono.text.parsers.forcing import Guard
from unisono.text.parsers.reading import AnswerReader
from unisono.text.parts import ToolCall
from unisono.text.pooled_inputs import PooledInputs
from unisono.text.tokenizer import Tokenizer

Prompt = str | Sequence[int]
Message = dict[str, Any]
_NO_LIMIT = 1 << 31
_PROMPT_FORMS = "A prompt is a text or a list of token ids."


@dataclass(slots=True)
class Completion:
    """One answer; of a chat, ``text`` is what it says beside reasoning and tool calls.
    ``prompt_logprobs`` has one entry a prompt token, ``None`` for the first."""

    prompt_index: int
    index: int
    prompt_token_ids: list[int]
    text: str
    token_ids: list[int]
    finish_reason: FinishReason
    logprobs: list[TokenLogprob] | None = None
    prompt_logprobs: list[TokenLogprob | None] | None = None
    stop: str | int | None = None
    """The stop text or token id that ended the answer."""
    num_cached_tokens: int = 0
    reasoning: str = ""
    tool_calls: list[ToolCall] = field(default_factory=list)
    num_reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """``is_text``: the answer goes on in that text, so a space at its beginning belongs to it.
    ``make_parser``: of a chat, finds the parts of an answer."""

    token_ids: list[int]
    is_text: bool = False
    make_parser: Callable[[], AnswerParser] | None = None
    calls: Constraint | None = None
    """The calls that the answer is to be."""
    guard: Guard | None = None
    """Holds the calls that it may make."""


class LLM(OfflinePooling):
    """A model, ready to answer.

    Args:
        model: a folder, a Hugging Face id, ``modelscope:ID``; None is the built-in demo model.
        config: how the engine is set up; without it, as by default, and any number may wait.
        revision: branch, tag or commit of a model that is downloaded.
        generation_config: ``auto``: what a request's parameters leave open is as the model's
            ``generation_config.json`` recommends; ``none``: it is neutral; or another such file.
        tool_format: how the model writes tool calls; ``auto`` finds it from its chat template.
        progress: told which share of the weights has been quantised, each time it grows.
        options: fields of ``EngineConfig`` that are to be other than in ``config``:
            ``device="cpu"``, ``dtype="float32"``, ``weights="int8"``, ``kv_memory="2GiB"`` (text,
            or bytes), ``max_model_len=4096``, ``tensor_parallel=2``, ``threads=8``,
            ``task="embed"``, ...

    Raises:
        ModelError, HardwareError, ConfigError: what is wrong and what to do.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        config: EngineConfig | None = None,
        *,
        revision: str | None = None,
        generation_config: str | Path = "auto",
        tool_format: str = "auto",
        progress: Callable[[float], None] | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(config, EngineConfig | None):
            raise ConfigError(
                f"config must be an EngineConfig, not {config!r:.40}.",
                hint='Write options by name, such as device="cpu".',
            )
        config = (config or EngineConfig(max_queue=_NO_LIMIT)).but(**options)
        folder = resolve_model(model, revision=revision)
        self.role = read_role(folder, config.task)
        self.sampling_defaults: SamplingDefaults = read_sampling_defaults(folder, generation_config)
        self.tokenizer = Tokenizer.load(folder)
        self.reader = AnswerReader(self.tokenizer, tool_format)
        config = config.but(task=self.role.task)
        self.engine = build_engine(folder, config, progress, self._compiler_for)
        self._inputs = PooledInputs(
            self.tokenizer, self.role, lambda: self.engine.info.max_model_len
        )
        self._ids = itertools.count()
        self._answers: dict[str, _Running | PooledRequest] = {}

    def close(self) -> None:
        """End what runs beside this process. Done anyway when it goes or the process ends."""
        self.engine.close()

    def _compiler_for(self, vocab_size: int, eos_token_ids: frozenset[int]) -> GrammarCompiler:
        self._compiler = GrammarCompiler(
            lambda: Vocabulary.of(self.tokenizer), vocab_size, eos_token_ids
        )
        return self._compiler

    # -- adapters ---------------------------------------------------------------------------

    @property
    def adapters(self) -> list[str]:
        """Names of the adapters that are loaded."""
        return [] if self.engine.adapters is None else self.engine.adapters.names

    def load_adapter(self, name: str, path: str | Path) -> None:
        """Let calls have the adapter (LoRA) in a folder as PEFT saves it, by ``adapter=name``.

        Raises:
            AdapterError: it is not understood or not of this model, or the name is taken.
            InsufficientMemoryError: there is no room for it.
        """
        self.engine.load_adapter(name, Path(path).expanduser())

    def remove_adapter(self, name: str) -> None:
        """Take an adapter away; answers under way go on with it.

        Raises:
            AdapterError: there is none of that name.
        """
        self.engine.remove_adapter(name)

    # -- whole answers ----------------------------------------------------------------------

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        adapter: str | None = None,
    ) -> list[Completion]:
        """Answer each prompt (text or token ids), ``params.n`` times, in order of the prompts, with
        an adapter where one is named.

        Raises:
            InvalidRequestError, ContextLengthError: before anything is computed.
            RequestFailedError: the model could not compute one of them.
        """
        listed = _as_prompts(prompts)
        given = [self.encode(prompt) for prompt in listed]
        if params is None:
            usual = [self._usual_params(prompt) for prompt in given]
            return self._complete(given, usual, adapter)
        return self._complete(given, _one_each(params, len(given)), adapter)

    def chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        *,
        tools: Sequence[Message] | None = None,
        tool_choice: str = "auto",
        template_kwargs: dict[str, Any] | None = None,
        adapter: str | None = None,
    ) -> list[Completion]:
        """Answer a conversation, ``params.n`` times; messages have ``role`` and ``content``.

        Args:
            tools: JSON descriptions of functions that the model may call.
            tool_choice: ``auto``; ``required``, for an answer that calls some of them; or the name
                of the one to call.
            template_kwargs: switches of the model's template, such as ``enable_thinking``.
            adapter: name of the adapter that answers; None: the model alone.
        """
        prompt = self.encode_chat(messages, tools, template_kwargs, tool_choice)
        own = _one_each(params or self._usual_params(prompt), 1)
        return self._complete([prompt], own, adapter)

    def _complete(
        self, prompts: list[EncodedPrompt], params: list[SamplingParams], adapter: str | None
    ) -> list[Completion]:
        answers: list[_Running] = []
        try:
            for prompt_index, (prompt, own) in enumerate(zip(prompts, params, strict=True)):
                for index, seed in enumerate(own.seeds()):
                    answers.append(self._submit(prompt_index, index, prompt, own, seed, adapter))
            waiting = answers
            while waiting:
                self._step()
                waiting = [answer for answer in waiting if not answer.has_ended()]
        finally:
            self._forget(answers)
        return [answer.completion() for answer in answers]

    # -- streams ----------------------------------------------------------------------------

    def stream(
        self,
        prompt: Prompt | EncodedPrompt,
        params: SamplingParams | None = None,
        *,
        adapter: str | None = None,
    ) -> Generator[AnswerDelta, None, None]:
        """One answer as it comes. Closing the iterator ends the request."""
        given = self.encode(prompt)
        return self._stream(given, params or self._usual_params(given), adapter)

    def stream_chat(
        self,
        messages: Sequence[Message],
        params: SamplingParams | None = None,
        *,
        tools: Sequence[Message] | None = None,
        tool_choice: str = "auto",
        template_kwargs: dict[str, Any] | None = None,
        adapter: str | None = None,
    ) -> Generator[AnswerDelta, None, None]:
        """The answer to a conversation as it comes; arguments as of :meth:`chat`."""
        given = self.encode_chat(messages, tools, template_kwargs, tool_choice)
        return self._stream(given, params or self._usual_params(given), adapter)

    def _stream(
        self, prompt: EncodedPrompt, params: SamplingParams, adapter: str | None
    ) -> Generator[AnswerDelta, None, None]:
        (params,) = _one_each(params, 1)
        if params.n != 1:
            raise InvalidRequestError("A stream has one answer.", param="n", hint="Leave n at 1.")
        (seed,) = params.seeds()
        answer = self._submit(0, 0, prompt, params, seed, adapter)
        try:
            while answer.deltas or not answer.has_ended():
                if answer.deltas:
                    yield answer.deltas.popleft()
                else:
                    self._step()
        finally:
            self._forget([answer])

    def encode_chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[Message] | None = None,
        template_kwargs: dict[str, Any] | None = None,
        tool_choice: str = "auto",
    ) -> EncodedPrompt:
        """The prompt of a conversation, for :meth:`stream`; arguments as of :meth:`chat`."""
        self.role.check("generate")
        schemas = tool_schemas(tools)
        calls = guard = None
        if schemas and tool_choice == "auto":
            guard = self.reader.guarded_calls(tools or ())
        elif tool_choice != "auto":
            names = list(schemas) if tool_choice == "required" else [tool_choice]
            if not schemas or names[0] not in schemas:
                raise InvalidRequestError("tool_choice names no tool.", param="tool_choice")
            calls = self.reader.forced_calls(
                tools or (), names=names, several=tool_choice == "required"
            )
        token_ids = self.tokenizer.encode_chat(
            list(messages), tools=tools, template_kwargs=template_kwargs
        )
        return EncodedPrompt(
            token_ids,
            make_parser=lambda: self.reader.parser(token_ids, schemas=schemas),
            calls=calls,
            guard=guard,
        )

    # -- no answers, but numbers ------------------------------------------------------------

    def _pool(
        self, prompts: Sequence[Sequence[int]], pooling: Pooling, adapter: str | None
    ) -> list[array[float]]:
        answers: list[PooledRequest] = []
        try:
            for prompt in prompts:
                request = Request(
                    id=f"offline-{next(self._ids)}",
                    prompt_token_ids=tuple(prompt),
                    params=SamplingParams(max_tokens=0),
                    pooling=pooling,
                    adapter=adapter or "",
                )
                self.engine.add(request)
                answers.append(PooledRequest(request))
                self._answers[request.id] = answers[-1]
            for answer in answers:
                while not answer.has_ended():
                    self._step()
        finally:
            self._forget(answers)
        return [answer.numbers() for answer in answers]

    # -- requests ---------------------------------------------------------------------------

    def _usual_params(self, prompt: EncodedPrompt) -> SamplingParams:
        """Parameters of a call that gives none; the context ends an answer at the latest."""
        usual = SamplingParams()
        room = self.engine.info.max_model_len - len(prompt.token_ids)
        return replace(usual, max_tokens=max(1, min(usual.max_tokens or room, room)))

    def encode(self, prompt: Prompt | EncodedPrompt) -> EncodedPrompt:
        """A prompt of any form, for :meth:`stream`."""
        self.role.check("generate")
        if isinstance(prompt, EncodedPrompt):
            return prompt
        if isinstance(prompt, str):
            return EncodedPrompt(self.tokenizer.encode(prompt), is_text=True)
        try:
            return EncodedPrompt([operator.index(token_id) for token_id in prompt])
        except TypeError as error:
            raise InvalidRequestError(_PROMPT_FORMS, param="prompt") from error

    def _submit(
        self,
        prompt_index: int,
        index: int,
        prompt: EncodedPrompt,
        params: SamplingParams,
        seed: int,
        adapter: str | None,
    ) -> _Running:
        params = replace(params.filled(self.sampling_defaults), n=1)
        params = replace(params, constraint=self._constraint(prompt, params))
        request = Request(
            id=f"offline-{next(self._ids)}",
            prompt_token_ids=tuple(prompt.token_ids),
            params=params,
            seed=seed,
            adapter=adapter or "",
        )
        context = prompt.token_ids if prompt.is_text else ()
        parser = prompt.make_parser() if prompt.make_parser else None
        stream = AnswerStream(self.tokenizer, request.params, context, index=index, parser=parser)
        answer = _Running(request, prompt_index, index, stream)
        self.engine.add(request)
        self._answers[request.id] = answer
        return answer

    def _constraint(self, prompt: EncodedPrompt, params: SamplingParams) -> Constraint | None:
        """The constraint on an answer, compiled."""
        constraint, is_needed = prompt.calls or params.constraint, True
        if prompt.make_parser is not None:
            if constraint is not None:
                constraint = self.reader.behind_reasoning(constraint, prompt.token_ids)
            elif prompt.guard is not None:
                constraint = self.reader.guard_behind(prompt.guard, prompt.token_ids, params)
                is_needed = prompt.guard.is_strict
        if constraint is not None:
            constraint = self._compiled(constraint, is_needed=is_needed)
        if prompt.make_parser is None:
            return constraint
        budget = params.thinking_token_budget
        return self.reader.budgeted(constraint, prompt.token_ids, budget)

    def _compiled(self, constraint: Constraint, *, is_needed: bool) -> Constraint | None:
        try:
            self._compiler.matcher(constraint)
        except InvalidRequestError:
            if is_needed:
                raise
            return None
        return constraint

    def _step(self) -> None:
        """One step for every answer under way, whoever waits for it."""
        for output in self.engine.step():
            answer = self._answers[output.request_id]
            answer.take(output)
            if answer.finished:
                self.engine.abort(output.request_id)

    def _forget(self, answers: Sequence[_Running | PooledRequest]) -> None:
        for answer in answers:
            del self._answers[answer.request.id]
            self.engine.abort(answer.request.id)


class _Running:
    """One request, and its answer while it grows."""

    def __init__(
        self, request: Request, prompt_index: int, index: int, stream: AnswerStream
    ) -> None:
        self.request = request
        self.finished = False
        self.deltas: deque[AnswerDelta] = deque()
        self._prompt_index = prompt_index
        self._stream = stream
        self._answer = Answer(index)
        self._error: str | None = None

    def has_ended(self) -> bool:
        """Raises RequestFailedError where it ended because the model could not compute it."""
        if self._error is not None:
            raise RequestFailedError(self._error)
        return self.finished

    def take(self, output: RequestOutput) -> None:
        """Add a step's tokens; a stop text may end the answer before the engine does."""
        if output.error is not None:
            self._error = output.error
            self.finished = True
            return
        delta = self._stream.take(output)
        self._answer.add(delta)
        self.deltas.append(delta)
        self.finished = delta.finish_reason is not None

    def completion(self) -> Completion:
        """The whole answer, once it has ended."""
        answer = self._answer
        assert answer.finish_reason is not None
        wants_logprobs = self.request.params.logprobs is not None
        return Completion(
            prompt_index=self._prompt_index,
            index=answer.index,
            prompt_token_ids=list(self.request.prompt_token_ids),
            text=answer.text,
            token_ids=answer.token_ids,
            finish_reason=answer.finish_reason,
            logprobs=(answer.logprobs or []) if wants_logprobs else None,
            prompt_logprobs=answer.prompt_logprobs,
            stop=answer.stop,
            num_cached_tokens=answer.num_cached_tokens,
            reasoning=answer.reasoning,
            tool_calls=answer.tool_calls,
            num_reasoning_tokens=answer.num_reasoning_tokens,
        )


def _as_prompts(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    if isinstance(prompts, str):
        return [prompts]
    try:
        listed: list[Any] = list(prompts)
    except TypeError as error:
        raise InvalidRequestError(_PROMPT_FORMS, param="prompt") from error
    if listed and all(isinstance(entry, int) for entry in listed):
        return [listed]
    return listed


def _one_each(
    params: SamplingParams | Sequence[SamplingParams], count: int
) -> list[SamplingParams]:
    if isinstance(params, SamplingParams):
        return [params] * count
    listed: list[Any] = list(params) if isinstance(params, Sequence) else [params]
    if not all(isinstance(own, SamplingParams) for own in listed):
        raise InvalidRequestError(
            "params must be SamplingParams, or a list of one for each prompt."
        )
    if len(listed) != count:
        raise InvalidRequestError(f"{len(listed)} sampling parameters for {count} prompts.")
    return listed
