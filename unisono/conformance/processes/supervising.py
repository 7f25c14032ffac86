"""The parent: starts the child, keeps its time, and goes on behind what hangs or dies.

Imports no torch: a broken plugin can only break the child.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import IO, Any

from unisono.conformance.processes.channel import Reader
from unisono.conformance.processes.last_words import last_words
from unisono.conformance.processes.patience import Patience
from unisono.conformance.reproductions.rerun import rerun_script
from unisono.conformance.results import Failure, Outcome, Result
from unisono.conformance.targets import environment_for
from unisono.conformance.variants import variant_checks
from unisono.core.child import Child
from unisono.core.errors import ConfigError

_OPENING_S = 120.0
_TRACING_S = 60.0
_LOOK_S = 1.0
_DUMP_S = 0.5
_END_S = 0.2
OPEN = "runtime.open"


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """``timeout``: seconds of processor time for each check and for opening the device, see
    ``patience``; 0 leaves it to the kit. ``threads`` of the host; None is what the process has
    processors for."""

    device: str = "auto"
    quick: bool = False
    only: tuple[str, ...] = ()
    timeout: float = 0.0
    threads: int | None = None


class Listener:
    """Told what happens while it happens; this one keeps quiet."""

    def planned(self, checks: list[tuple[str, str]]) -> None:
        """Names and purposes, in order."""

    def added(self, checks: list[tuple[str, str]]) -> None:
        """More of them, on another form of the device's kernels."""

    def started(self, check: str) -> None:
        """A check began."""

    def finished(self, result: Result) -> None:
        """A check ended, or was ended."""


@dataclass(slots=True)
class Run:
    """The outcome of a run. ``about`` is empty where the device could not be opened."""

    options: Options
    about: dict[str, Any] = field(default_factory=dict)
    plan: list[tuple[str, str]] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return bool(self.results) and not any(result.bad for result in self.results)

    @property
    def verdict(self) -> str:
        """In words; of a run of some checks alone it says no more than that."""
        if self.options.only:
            return "what was asked passed" if self.passed else "what was asked did NOT pass"
        return "fit to run models" if self.passed else "NOT fit to run models"


def check_device(options: Options, listener: Listener | None = None) -> Run:
    """Run the checks on a device.

    Raises:
        ConfigError: ``only`` names no check, or the device has no such form.
        DeviceNotFoundError: no hardware of that name is known.
    """
    run = Run(options)
    began = time.monotonic()
    listener = listener or Listener()
    with environment_for(options.device) as (device, environment):
        if options.threads is not None:
            environment["OMP_NUM_THREADS"] = str(options.threads)
        _Supervisor(run, device, environment, {}, listener).go()
        for variable, name in run.about.get("variants", []):
            _check_variant(run, name, device, environment, {variable: name}, listener)
    run.seconds = time.monotonic() - began
    return run


def _check_variant(
    run: Run,
    name: str,
    device: str,
    environment: dict[str, str],
    chosen: dict[str, str],
    listener: Listener,
) -> None:
    """Repeats the checks that compute with another form of the device's kernels."""
    only = variant_checks(run.options.only)
    if only:
        part = Run(replace(run.options, only=only))
        renaming = _Renaming(name, run, listener)
        _Supervisor(part, device, environment, chosen, renaming).go()


class _Renaming(Listener):
    """Results of a variant join the run under names of their own."""

    def __init__(self, variant: str, run: Run, listener: Listener) -> None:
        self._variant, self._run, self._listener = variant, run, listener

    def _name(self, check: str) -> str:
        return f"{check}@{self._variant}"

    def planned(self, checks: list[tuple[str, str]]) -> None:
        renamed = [(self._name(check), purpose) for check, purpose in checks]
        self._run.plan += renamed
        self._listener.added(renamed)

    def started(self, check: str) -> None:
        self._listener.started(self._name(check))

    def finished(self, result: Result) -> None:
        if result.check == OPEN and not result.bad:
            return
        renamed = replace(result, check=self._name(result.check))
        self._run.results.append(renamed)
        self._listener.finished(renamed)


@dataclass(slots=True)
class _State:
    """State of one child: the check under way, and its last case."""

    pid: int
    patience: Patience
    check: str = OPEN
    since: float = field(default_factory=time.monotonic)
    case: str = ""
    script: str = ""
    ended: bool = False
    exhausted: str = ""
    """Reason why it was ended, where it hung."""


class _Supervisor:
    def __init__(
        self,
        run: Run,
        device: str,
        environment: dict[str, str],
        chosen: dict[str, str],
        listener: Listener,
    ) -> None:
        self.run, self.device = run, device
        self.environment, self.chosen = {**environment, **chosen}, chosen
        self.listener = listener
        self.opening_s = run.options.timeout or _OPENING_S

    def go(self) -> None:
        """Children, one after the other, until every check has a result."""
        while True:
            before = len(self.run.results)
            ended = self._one_child()
            if ended:
                return
            if len(self.run.results) == before:
                self._give_up("the device cannot be opened any more")
                return

    def _give_up(self, reason: str) -> None:
        done = self._done()
        for name, _ in self.run.plan:
            if name not in done:
                self._add(Result(check=name, outcome="not run", detail=reason))

    def _done(self) -> set[str]:
        return {result.check for result in self.run.results}

    def _add(self, result: Result) -> None:
        if result.check not in self._done():
            self.run.results.append(result)
            self.listener.finished(result)

    def _one_child(self) -> bool:
        """True where nothing is left to do."""
        options = self.run.options
        words = [f"--only={name}" for name in options.only]
        words += [f"--done={name}" for name in self._done()]
        with tempfile.TemporaryFile() as log:
            with self._child(words, log) as (child, reader):
                state = _State(child.pid, Patience(child.pid, self.opening_s))
                for event in reader.events(lambda: time.monotonic() + _LOOK_S):
                    if event is None:
                        state.exhausted = state.patience.exhausted()
                    if state.exhausted:
                        _dump_traceback(child)
                        break
                    if event is not None and self._take(event, state):
                        break
            if state.ended:
                return True
            self._ended_badly(child, state, log)
        return state.check == OPEN

    def _take(self, event: dict[str, Any], state: _State) -> bool:
        """True where the child has said all."""
        kind = event["event"]
        if kind == "plan" and not self.run.plan:
            self.run.plan = [(name, purpose) for name, purpose in event["checks"]]
            self.listener.planned(self.run.plan)
        elif kind == "refused":
            raise ConfigError(event["message"], hint=event["hint"])
        elif kind == "unopened":
            self._unopened(event, state)
            return True
        elif kind == "opened":
            self.run.about = self.run.about or event["about"]
            self._add(Result(check=OPEN, outcome="passed", seconds=round(event["seconds"], 3)))
        elif kind == "start":
            state.check, state.case, state.since = event["check"], "", time.monotonic()
            state.patience = Patience(state.pid, event["limit"])
            self.listener.started(state.check)
        elif kind == "case":
            state.case, state.script = event["case"], event["script"]
            state.patience.heard()
        elif kind == "result":
            self._add(Result.from_json(event["result"]))
            state.check = ""
        elif kind == "end":
            state.ended = True
        return state.ended

    def _unopened(self, event: dict[str, Any], state: _State) -> None:
        self._add(Result(check=OPEN, outcome="failed", detail=event["message"]))
        self._give_up("the device cannot be opened")
        state.ended = True

    def _ended_badly(self, child: Child, state: _State, log: IO[bytes]) -> None:
        """A result for the check during which the child hung or died."""
        outcome: Outcome = "hang" if state.exhausted else "crashed"
        waited = time.monotonic() - state.since
        what = state.exhausted or f"the process died ({_cause(child.status)})"
        where = last_words(log)
        detail = " ".join([what, *([f"in case {state.case}"] if state.case else []), where]).strip()
        culprit, script = self._locate(state) if state.check != OPEN else ("", "")
        failure = Failure(
            case=state.case,
            detail=detail,
            culprit=culprit,
            script=script or state.script or self._kit_script(state),
        )
        self._add(
            Result(
                check=state.check or "runtime.between_checks",
                outcome=outcome,
                detail=detail,
                seconds=round(waited, 3),
                failures=(failure,),
            )
        )
        if state.check == OPEN:
            self._give_up("the device cannot be opened")

    def _kit_script(self, state: _State) -> str:
        """The reproduction where no op of torch was running: the check itself."""
        options = self.run.options
        check = "" if state.check == OPEN else state.check
        return rerun_script(
            options.device,
            check=check,
            case=state.case,
            quick=options.quick,
            environment=self.chosen,
        )

    def _locate(self, state: _State) -> tuple[str, str]:
        """The ATen op under way when the case hung or died, by doing it again."""
        if not state.case or state.script:
            return "", ""
        words = [f"--only={state.check}", f"--trace={state.case}"]
        last = ("", "")
        deadline = time.monotonic() + min(_TRACING_S, state.patience.limit + self.opening_s)
        with tempfile.TemporaryFile() as log, self._child(words, log) as (_, reader):
            for event in reader.events(lambda: deadline):
                if event is None or event["event"] in ("result", "end"):
                    break
                if event["event"] == "aten":
                    last = event["op"], event["script"]
        return last

    @contextlib.contextmanager
    def _child(self, words: list[str], log: IO[bytes]) -> Iterator[tuple[Child, Reader]]:
        """A child and what it says; killed with all it started, at the latest on leaving."""
        read, write = os.pipe()
        options = self.run.options
        command = [
            sys.executable,
            "-m",
            "unisono.conformance.processes.child",
            f"--channel={write}",
        ]
        command += [f"--device={self.device}", f"--asked={options.device}"]
        command += [f"--timeout={options.timeout}", *words]
        command += ["--quick"] if options.quick else []
        child = Child(command, pass_fds=(write,), stdout=log, stderr=log, env=self.environment)
        os.close(write)
        reader = Reader(read)
        try:
            yield child, reader
        finally:
            child.end(_END_S)
            reader.close()


def _dump_traceback(child: Child) -> None:
    """Let the child write down where it stands: its faulthandler answers this signal."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(child.pid, signal.SIGUSR1)
    time.sleep(_DUMP_S)


def _cause(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
