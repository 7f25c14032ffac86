"""The process in which checks run: it may hang or die without taking the report with it.

``python -m unisono.conformance.processes.child``, started by ``supervising``. Writes one
JSON line for each event to the file descriptor that it is given.
"""

from __future__ import annotations

import argparse
import faulthandler
import signal
import sys
import time
from typing import TYPE_CHECKING

from unisono.conformance.processes.channel import Writer
from unisono.core.errors import ConfigError, UnisonoError
from unisono.core.parent import end_with_parent

if TYPE_CHECKING:
    from unisono.conformance.registry import Check
    from unisono.hardware.base import Hardware


def main() -> None:
    end_with_parent()
    options = _parse()
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    channel = Writer(options.channel)
    began = time.perf_counter()
    try:
        from unisono.conformance.registry import select

        checks = select(options.only)
        channel.send("plan", checks=[[one.name, one.purpose] for one in checks])
    except ConfigError as error:
        channel.send("refused", message=error.message, hint=error.hint)
        return
    from unisono.conformance.expected.math_apis import use_math_api
    from unisono.conformance.identity import describe
    from unisono.hardware.discovery import find_hardware
    from unisono.hardware.threads import choose_threads

    try:
        hardware = find_hardware(options.device)
        hardware.use_threads(choose_threads())
        about = describe(hardware)
    except Exception as error:
        message = error.message if isinstance(error, UnisonoError) else str(error)
        channel.send("unopened", message=f"{type(error).__name__}: {message}")
        return
    use_math_api(hardware.facts.math_api)
    channel.send("opened", about=about, seconds=time.perf_counter() - began)
    for check in checks:
        if check.name not in options.done:
            _run(check, hardware, options, channel)
    channel.send("end")


def _run(check: Check, hardware: Hardware, options: argparse.Namespace, channel: Writer) -> None:
    from unisono.conformance.context import Context
    from unisono.conformance.running import run_check

    limit = options.timeout or max(check.seconds, 60.0 if options.quick else 240.0)
    channel.send("start", check=check.name, limit=limit)
    context = Context(
        hardware,
        quick=options.quick,
        spec=None if options.device == "auto" else options.device,
        asked=options.asked,
        note=lambda case, script: channel.send("case", case=case, script=script),
        trace_case=options.trace,
        tell=lambda op, script: channel.send("aten", op=op, script=script),
    )
    result = run_check(check, context)
    sys.stdout.flush()
    channel.send("result", result=result.to_json())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--asked")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--timeout", type=float, default=0.0)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--done", action="append", default=[])
    parser.add_argument("--trace")
    return parser.parse_args()


if __name__ == "__main__":
    main()
