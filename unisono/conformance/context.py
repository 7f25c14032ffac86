"""The context of a check: the device, the mode, and how to say what it found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from unisono.conformance.expected.comparing import Expected, Mismatch, compare
from unisono.conformance.reproductions.locating import locate, trace
from unisono.conformance.reproductions.scripts import DeviceText, probe_script
from unisono.conformance.results import Failure, Figure
from unisono.conformance.watching import WatchedOps
from unisono.hardware.base import Hardware

_MOST_FAILURES = 4
"""Failures of one check; further cases would say the same."""
_REFUSALS = (
    *("not implemented", "not supported", "unsupported", "could not run", "no kernel"),
    *("doesn't support", "does not support", "don't support", "do not support"),
)


class NotApplicable(Exception):
    """There is nothing to check on this device."""


class Refused(Exception):
    """The device says clearly that it lacks this."""


class TooManyFailures(Exception):
    """Ends a check early."""


class Context:
    """One check's view of the device.

    Args:
        spec: how ``find_hardware`` finds the device.
        asked: how the user named it, for programs that do all of it again.
        note: told name and, where there is one, program of each case before it runs.
        trace_case: the case whose ATen ops ``tell`` is told of before they run.
    """

    def __init__(
        self,
        hardware: Hardware,
        *,
        quick: bool,
        spec: str | None = None,
        asked: str | None = None,
        note: Callable[[str, str], None] = lambda case, script: None,
        trace_case: str | None = None,
        tell: Callable[[str, str], None] = lambda op, script: None,
    ) -> None:
        self.hardware = hardware
        self.quick = quick
        self.spec = spec or hardware.name
        self.asked = asked or self.spec
        self.device = hardware.device
        self.ops = WatchedOps(hardware.ops)
        self.dtypes = [getattr(torch, name) for name in hardware.facts.dtypes]
        self.failures: list[Failure] = []
        self.figures: list[Figure] = []
        self.refusals: list[str] = []
        self.num_cases = 0
        self.margin: float | None = None
        self.remark = ""
        """A remark on a check that passes."""
        self.script = ""
        """Stand-alone program for failures that carry none of their own."""
        self._note = note
        self._trace_case, self._tell = trace_case, tell

    @property
    def has_all_floats(self) -> bool:
        """The hardware states float32 and both of 16 bits, so that none may be lacking."""
        return {"float32", "float16", "bfloat16"} <= set(self.hardware.facts.dtypes)

    # -- cases ------------------------------------------------------------------------------

    @contextmanager
    def case(self, label: str, *, optional: bool = False) -> Iterator[None]:
        """Errors inside are failures of this case, and the check goes on.

        Raises:
            TooManyFailures: enough is known.
        """
        self.num_cases += 1
        self._note(label, self.script)
        try:
            with self._tracing(label):
                yield
        except (NotApplicable, TooManyFailures):
            raise
        except Refused as refusal:
            self.refusals.append(f"{label}: {refusal}")
        except Mismatch as mismatch:
            self._fail(label, mismatch)
        except Exception as error:
            if optional and is_refusal(error):
                self.refusals.append(f"{label}: {first_line(error)}")
            else:
                self._fail(label, Mismatch(f"raises {type(error).__name__}: {first_line(error)}"))

    def _tracing(self, label: str) -> AbstractContextManager[object]:
        if label != self._trace_case:
            return nullcontext()
        return trace(self.describe_device(), self._tell)

    def probe(
        self, label: str, function: Callable[[torch.device], None], *, optional: bool = False
    ) -> None:
        """A case that needs torch alone; what it expects and is not so fails it."""
        self.script = probe_script(self.describe_device(), label, function)
        with self.case(label, optional=optional):
            try:
                function(self.device)
            except AssertionError as failed:
                raise Mismatch(first_line(failed)) from None
        self.script = ""

    def demonstrate(self, function: Callable[[torch.device], None]) -> None:
        """Failures from now on are shown by the source of ``function``."""
        self.script = probe_script(self.describe_device(), function.__doc__ or "", function)

    def _fail(self, label: str, mismatch: Mismatch) -> None:
        self.failures.append(
            Failure(
                case=label,
                detail=mismatch.detail,
                error=_finite(mismatch.error),
                bound=mismatch.bound,
                culprit=mismatch.culprit,
                script=mismatch.script or self.script,
            )
        )
        if len(self.failures) >= _MOST_FAILURES:
            raise TooManyFailures

    # -- tensors ----------------------------------------------------------------------------

    def put(self, tensor: Tensor) -> Tensor:
        """On the device."""
        return tensor.to(self.device)

    def describe_device(self) -> DeviceText:
        return DeviceText.of(self.hardware)

    # -- verdicts ---------------------------------------------------------------------------

    def verify(
        self,
        run: Callable[..., Any],
        want: Expected | tuple[Expected, ...],
        *,
        dtype: torch.dtype | tuple[torch.dtype, ...] | None = None,
        given: Sequence[Any] = (),
    ) -> None:
        """Run with what is given, and compare.

        Raises:
            Mismatch: with a reproduction.
        """
        self.examine(run, lambda got: self.judge(got, want, dtype), given=given)

    def examine(
        self, run: Callable[..., Any], judge: Callable[[Any], None], *, given: Sequence[Any] = ()
    ) -> None:
        """Run and let ``judge`` see the result; where it raises, find the op of torch at fault.

        Raises:
            Mismatch: with a reproduction.
        """
        try:
            judge(run(*given))
        except Refused:
            raise
        except Exception as error:
            wrong = error if isinstance(error, Mismatch) else None
            wrong = wrong or Mismatch(f"raises {type(error).__name__}: {first_line(error)}")
            self.ops.watching = False
            try:
                found = locate(lambda: run(*given), self.describe_device())
            finally:
                self.ops.watching = True
            if found is not None:
                wrong.culprit, wrong.script = found
            if wrong is error:
                raise
            raise wrong from error

    def judge(
        self,
        got: Any,
        want: Expected | tuple[Expected, ...],
        dtype: torch.dtype | tuple[torch.dtype, ...] | None = None,
    ) -> None:
        """Compare one result, or several."""
        if isinstance(want, Expected):
            got, want = (got,), (want,)
        dtypes = dtype if isinstance(dtype, tuple) else (dtype,) * len(want)
        if not isinstance(got, (tuple, list)) or len(got) != len(want):
            raise Mismatch(f"returns {_kind(got)} instead of {len(want)} tensors")
        for mine, one, own_dtype in zip(got, want, dtypes, strict=True):
            self._check_form(mine, one, own_dtype)
            share = compare(mine.detach().cpu(), one)
            self.margin = max(share, self.margin or 0.0)

    def _check_form(self, got: Any, want: Expected, dtype: torch.dtype | None) -> None:
        if not isinstance(got, Tensor):
            raise Mismatch(f"returns {_kind(got)} instead of a tensor")
        if got.device != self.device and got.device != torch.device(self.device.type):
            raise Mismatch(f"the result lies on {got.device} instead of {self.device}")
        if dtype is not None and got.dtype != dtype:
            raise Mismatch(f"returns {got.dtype} instead of {dtype}")
        if got.shape != want.values.shape:
            raise Mismatch(f"returns shape {list(got.shape)} instead of {list(want.values.shape)}")


def _kind(value: Any) -> str:
    return f"{len(value)} values" if isinstance(value, (tuple, list)) else type(value).__name__


def is_refusal(error: Exception) -> bool:
    """Returns whether an error says that something is not there, rather than that it broke."""
    text = str(error).lower()
    return isinstance(error, NotImplementedError) or any(words in text for words in _REFUSALS)


def first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else "(no message)"


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
