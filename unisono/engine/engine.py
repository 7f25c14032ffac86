"""The engine: schedule, run, complete. Synchronous, and it knows nothing of who hosts it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Generic, TypeVar

from unisono.core.clock import Clock
from unisono.core.errors import AdapterError, EngineDeadError, InvalidRequestError, RequestError
from unisono.core.request import Request, RequestOutput
from unisono.engine.adapters import EngineAdapters
from unisono.engine.intake import check_pooling
from unisono.engine.kv_cache import peak_blocks
from unisono.engine.runner import Runner
from unisono.engine.scheduler import Scheduler
from unisono.engine.stats import EngineInfo, EngineStats, Timings

if TYPE_CHECKING:
    from unisono.engine.sampling.constraints import Constraints

_COMPILING_S = 0.005
"""For a constraint to be compiled, before those who host the engine are heard again."""
_log = logging.getLogger(__name__)


R = TypeVar("R", bound=Runner)


class Engine(Generic[R]):
    """``add`` requests, then ``step`` while ``has_work``. ``build_engine`` makes one of a model.

    Args:
        clock: what the engine times itself with.
        timings: where the runner adds its own parts of the steps, if it does.
        constraints: of the requests in flight; without them, none is taken.
        adapters: that requests may have; without them, none is loaded.
        alarms: readable when a part of the runner fails between two steps; ``check`` says what.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        runner: R,
        info: EngineInfo,
        clock: Clock,
        *,
        timings: Timings | None = None,
        constraints: Constraints | None = None,
        adapters: EngineAdapters | None = None,
        alarms: Sequence[socket] = (),
    ) -> None:
        self.scheduler = scheduler
        self.runner = runner
        self.info = info
        self.clock = clock
        self.timings = timings or Timings()
        self.constraints = constraints
        self.adapters = adapters
        self.alarms = alarms
        self._compiling: dict[str, Request] = {}
        self._num_steps = 0

    @property
    def has_work(self) -> bool:
        return self.scheduler.has_work or bool(self._compiling)

    def add(self, request: Request) -> None:
        """Take a request into the queue.

        Raises:
            InvalidRequestError: a token id outside the vocabulary, an empty prompt, no such
                adapter.
            ContextLengthError: it does not fit the context.
            QueueFullError: too many wait.
        """
        self._check_token_ids("prompt", (*request.prompt_token_ids, *request.resumed_token_ids))
        self._check_token_ids("stop_token_ids", request.params.stop_token_ids)
        self._check_token_ids("logit_bias", tuple(request.params.logit_bias))
        self._check_token_ids("allowed_token_ids", request.params.allowed_token_ids or ())
        check_pooling(request, self.info)
        if request.adapter:
            request = replace(request, adapter=self._adapters().key(request.adapter))
        if request.params.constraint is None:
            self.scheduler.add(request)
        else:
            self._compile(request)

    def _compile(self, request: Request) -> None:
        """It joins the queue once its constraint is compiled, so that nobody waits for that."""
        if self.constraints is None:
            kind = request.params.constraint.kind if request.params.constraint else ""
            raise InvalidRequestError("This engine takes no constraints.", param=kind)
        self.scheduler.check(request, num_more=len(self._compiling))
        if request.id in self._compiling:
            raise InvalidRequestError(f"Request {request.id!r} is in flight already.")
        self.constraints.add(request)
        self._compiling[request.id] = request

    def load_adapter(self, name: str, folder: Path) -> int:
        """Let requests have the adapter in a folder, under a name; gives its bytes. Between steps.

        Raises:
            AdapterError: it is not understood or not of this model, its name is taken, or as many
                are loaded as may be.
            InsufficientMemoryError: there is no room for it.
        """
        self._sweep()
        return self._adapters().load(name, folder)

    def remove_adapter(self, name: str) -> None:
        """Take an adapter away. Requests that have it go on with it to their end.

        Raises:
            AdapterError: there is none of that name.
        """
        self._adapters().remove(name)
        self._sweep()

    def _adapters(self) -> EngineAdapters:
        if self.adapters is None:
            raise AdapterError("This engine takes no adapters.")
        return self.adapters

    def _sweep(self) -> None:
        if self.adapters is not None and self.adapters.has_leaving:
            waiting = {request.adapter for request in self._compiling.values()}
            self.adapters.sweep(lambda: waiting | self.scheduler.adapters_in_use())

    def _queue_compiled(self) -> list[RequestOutput]:
        """Requests whose constraint cannot be used end."""
        failed = []
        for request in list(self._compiling.values()):
            assert self.constraints is not None
            try:
                if not self.constraints.take_ready(request):
                    continue
                self.scheduler.add(request)
            except RequestError as error:
                self.constraints.remove(request.id)
                output = RequestOutput(request.id, [], finish_reason="error", error=str(error))
                failed.append(output)
            del self._compiling[request.id]
        if self.constraints and self._compiling and not self.scheduler.has_work and not failed:
            self.constraints.wait(_COMPILING_S)
        return failed

    def _check_token_ids(self, param: str, token_ids: tuple[int, ...]) -> None:
        size = self.info.vocab_size
        if token_ids and not 0 <= min(token_ids) <= max(token_ids) < size:
            wrong = min(token_ids) if min(token_ids) < 0 else max(token_ids)
            raise InvalidRequestError(
                f"Token id {wrong} of {param} is out of vocabulary: a vocabulary of {size}.",
                param=param,
            )

    def abort(self, request_id: str) -> None:
        """Forget a request and free what it holds; unknown ids are ignored."""
        self._compiling.pop(request_id, None)
        self.scheduler.abort(request_id)
        if self.constraints is not None:
            self.constraints.remove(request_id)
        self._sweep()

    def step(self) -> list[RequestOutput]:
        """Advance the requests in flight by one step and say what is new.

        An error that belongs to one request ends that request alone (``finish_reason="error"``).

        Raises:
            EngineDeadError: a part of the engine is gone, and all requests with it.
        """
        failed = self._queue_compiled() if self._compiling else []
        outputs = failed + self._step()
        if self.constraints is not None:
            for output in outputs:
                if output.finish_reason is not None:
                    self.constraints.remove(output.request_id)
        self._sweep()
        return outputs

    def _step(self) -> list[RequestOutput]:
        started = self.clock.now()
        batch = self.scheduler.schedule()
        scheduled = self.clock.now()
        if not batch.rows:
            return []
        self._num_steps += 1
        self.timings.steps += 1
        try:
            results = self.runner.run(batch)
        except EngineDeadError:
            raise
        except Exception as error:
            _log.exception("a step of %d rows failed", len(batch.rows))
            return self.scheduler.step_failed(batch, f"{type(error).__name__}: {error}")
        except BaseException:  # such as Ctrl-C, after which the engine may be used again
            self.scheduler.step_undone(batch)
            raise
        ran = self.clock.now()
        if self.scheduler.speculation is not None:
            self.scheduler.speculation.measure(batch, ran - started)
        outputs = self.scheduler.complete(batch, results)
        self.timings.schedule_s += scheduled - started
        self.timings.update_s += self.clock.now() - ran
        return outputs

    def check(self) -> None:
        """Raises:
        EngineDeadError: a part of the engine is gone.
        """
        self.runner.check()

    def close(self) -> None:
        """Nothing is to be asked of it any more. Done anyway when it goes or the process ends."""
        self.runner.close()
        if self.constraints is not None:
            self.constraints.close()

    def blocks_for(self, num_tokens: int) -> int:
        """Most KV blocks that one request of that many tokens holds at once."""
        config = self.scheduler.config
        chunk = config.max_num_batched_tokens
        return peak_blocks(config.groups, config.block_size, num_tokens, chunk)

    def stats(self) -> EngineStats:
        scheduler = self.scheduler
        return EngineStats(
            num_running=scheduler.num_running,
            num_waiting=scheduler.num_waiting,
            oldest_wait_s=scheduler.oldest_wait_s(),
            num_blocks=self.info.num_blocks,
            num_free_blocks=scheduler.kv.pool.num_free,
            num_preemptions=scheduler.counters.preemptions,
            prefix_queried_tokens=scheduler.kv.num_queried_tokens,
            prefix_hit_tokens=scheduler.kv.num_hit_tokens,
            prompt_tokens=scheduler.counters.prompt_tokens,
            generated_tokens=scheduler.counters.generated_tokens,
            accepted_tokens=scheduler.counters.accepted_tokens,
            rejected_tokens=scheduler.counters.rejected_tokens,
            steps=self._num_steps,
        )
