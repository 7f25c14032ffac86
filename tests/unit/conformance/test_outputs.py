"""Cards, reports and the channel: data in, data out."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S
from unisono.conformance import Failure, Figure, Options, Result, Run
from unisono.conformance.card import make_card
from unisono.conformance.processes.channel import Reader, Writer
from unisono.conformance.report import render_report
from unisono.conformance.reproductions.rerun import rerun_script
from unisono.conformance.view import CheckView
from unisono.hardware.cards.status import Card

ABOUT = {
    "hardware": "x1",
    "device": "x1:0",
    "index": 0,
    "description": "a chip",
    "vendor": "somebody",
    "dtypes": ["float32"],
    "features": ["graphs"],
    "total_memory": 1 << 30,
    "versions": {"torch": "2.13.0"},
}
GOOD = Result(check="ops.linear", outcome="passed", cases=3, margin=0.5, seconds=1.25)
BAD = Result(
    check="ops.rope",
    outcome="failed",
    detail="wrong",
    failures=(
        Failure(case="float32 a|b", detail="wrong", error=1.0, bound=float("inf"), script="pass\n"),
    ),
)
FIGURES = Result(
    check="measure.memory",
    outcome="passed",
    figures=(Figure(name="memory copy", value=12.5, unit="GB/s", predicted=True),),
)


def test_results_survive_the_channel() -> None:
    for result in (GOOD, BAD, FIGURES):
        assert Result.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_a_card_is_one_that_the_hardware_room_reads() -> None:
    run = Run(Options(), about=ABOUT, results=[GOOD, FIGURES], seconds=3.0)
    card = make_card(run)
    parsed = Card.parse(json.loads(json.dumps(card, allow_nan=False)))
    assert (parsed.hardware, parsed.passed) == ("x1", True)
    assert card["figures"][0]["value"] == 12.5
    assert card["mode"] == "full"


def test_what_fails_or_is_left_out_does_not_pass() -> None:
    assert not make_card(Run(Options(), about=ABOUT, results=[GOOD, BAD]))["passed"]
    assert not make_card(Run(Options(only=("ops",)), about=ABOUT, results=[GOOD]))["passed"]
    assert not make_card(Run(Options(), about={}, results=[]))["passed"]
    json.dumps(make_card(Run(Options(), about=ABOUT, results=[BAD])), allow_nan=False)


def test_the_report_has_verdict_programs_and_figures() -> None:
    page = render_report(Run(Options(), about=ABOUT, results=[GOOD, BAD, FIGURES]))
    for words in ("NOT fit", "1.0 GiB", "**failed**", "```python\npass\n```", "predicted"):
        assert words in page


def test_lines_arrive_whole_and_time_runs_out() -> None:
    read, write = os.pipe()
    writer, reader = Writer(write), Reader(read)
    writer.send("result", text="x" * 30_000)
    writer.send("end")
    left_s = [PATIENCE_S]
    events = reader.events(lambda: time.monotonic() + left_s[0])
    assert [next(events)["event"] for _ in range(2)] == ["result", "end"]
    left_s[0] = 0.05
    assert next(events) is None
    os.close(write)
    with pytest.raises(StopIteration):
        next(events)
    reader.close()


def test_a_verdict_claims_no_more_than_was_run() -> None:
    some = Options(only=("ops",))
    assert Run(Options(), about=ABOUT, results=[GOOD]).verdict == "fit to run models"
    assert Run(some, about=ABOUT, results=[GOOD]).verdict == "what was asked passed"
    assert Run(some, about=ABOUT, results=[BAD]).verdict == "what was asked did NOT pass"


@pytest.mark.parametrize("check", ["ops.rope", ""])
@pytest.mark.parametrize("device", ["cpu", "my.module:Class", "it's"])
def test_a_program_that_runs_the_check_again_is_sound(device: str, check: str) -> None:
    chosen = {"CARD_KERNELS": "o'ld"}
    script = rerun_script(device, check=check, case="a\nb", quick=True, environment=chosen)
    compile(script, "script.py", "exec")
    assert repr(device) in script
    assert '"--quick"' in script
    assert f"{{**os.environ, 'CARD_KERNELS': {chosen['CARD_KERNELS']!r}}}" in script
    assert ('"--only"' in script) is bool(check)


def test_an_outcome_without_cases_counts_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hang = Failure(case="float32", detail="no end after 6 s")
    with CheckView(tmp_path) as view:
        view.finished(Result(check="ops.rope", outcome="hang", failures=(hang,)))
        view.finished(GOOD)
    said = capsys.readouterr().out
    assert "float32: no end after 6 s" in said
    assert "first 0 cases" not in said
    assert "bound" not in said
