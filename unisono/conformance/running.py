"""One check on an open device, from its function to its result."""

from __future__ import annotations

import time
from collections.abc import Callable

from unisono.conformance.context import (
    Context,
    NotApplicable,
    Refused,
    TooManyFailures,
    first_line,
    is_refusal,
)
from unisono.conformance.expected.comparing import Mismatch
from unisono.conformance.registry import Check
from unisono.conformance.reproductions.rerun import rerun_script
from unisono.conformance.results import Failure, Outcome, Result
from unisono.conformance.variants import chosen_variant


def run_check(check: Check, context: Context) -> Result:
    """Never raises: what goes wrong is the result."""
    began = time.perf_counter()
    outcome, detail = _attempt(check, lambda: _run_active(check, context), context)
    failures = tuple(_with_script(one, check, context) for one in context.failures)
    if failures and outcome != "error":
        outcome, detail = "failed", failures[0].detail
    return Result(
        check=check.name,
        outcome=outcome,
        detail=detail,
        seconds=round(time.perf_counter() - began, 3),
        cases=context.num_cases,
        margin=context.margin,
        failures=failures,
        figures=tuple(context.figures),
    )


def _run_active(check: Check, context: Context) -> None:
    with context.hardware.activate():
        check.run(context)


def _attempt(check: Check, run: Callable[[], None], context: Context) -> tuple[Outcome, str]:
    try:
        run()
    except TooManyFailures:
        return "failed", ""
    except NotApplicable as reason:
        return "not applicable", str(reason)
    except Refused as refusal:
        return "refused", str(refusal)
    except Mismatch as mismatch:
        context.failures.append(Failure(case="", detail=mismatch.detail, script=mismatch.script))
        return "failed", mismatch.detail
    except Exception as error:
        if check.optional and is_refusal(error):
            return "refused", first_line(error)
        detail = f"{type(error).__name__}: {first_line(error)}"
        context.failures.append(Failure(case="", detail=detail, script=context.script))
        return "error", detail
    if context.refusals and len(context.refusals) == context.num_cases:
        return "refused", context.refusals[0]
    lacks = [f"lacks {'; '.join(context.refusals)}"] if context.refusals else []
    return "passed", "; ".join([*lacks, *([context.remark] if context.remark else [])])


def _with_script(failure: Failure, check: Check, context: Context) -> Failure:
    if failure.script:
        return failure
    script = rerun_script(
        context.asked,
        check=check.name,
        case=failure.case,
        quick=context.quick,
        environment=chosen_variant(type(context.hardware)),
    )
    return Failure(
        case=failure.case,
        detail=failure.detail,
        error=failure.error,
        bound=failure.bound,
        culprit=failure.culprit,
        script=script,
    )
