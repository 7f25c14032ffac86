"""One page of Markdown about a run."""

from __future__ import annotations

from unisono.conformance.card import make_card
from unisono.conformance.processes.supervising import Run
from unisono.conformance.results import Failure, Figure, Result
from unisono.core.config import format_bytes


def render_report(run: Run) -> str:
    """Verdict, versions, results by group, failures with their programs, figures."""
    card, about = make_card(run), run.about
    lines = [
        f"# Conformance of {about.get('device', run.options.device)}",
        "",
        f"**{run.verdict[0].upper()}{run.verdict[1:]}** "
        f"({card['mode']} run, {card['date']}, {run.seconds:.0f} s).",
        "",
        f"- device: {about.get('description') or 'not opened'}",
    ]
    if about.get("total_memory"):
        lines.append(f"- memory: {format_bytes(about['total_memory'])}")
    lines += [f"- {name}: {value}" for name, value in card["versions"].items()]
    lines += ["", "| check | outcome | cases | largest error / bound | seconds |"]
    lines += ["|---|---|---|---|---|"]
    lines += [_row(result) for result in run.results]
    lines += _failures(run.results)
    lines += _figures([figure for result in run.results for figure in result.figures])
    return "\n".join(lines) + "\n"


def _row(result: Result) -> str:
    margin = f"{result.margin:.2f}" if result.margin is not None else ""
    outcome = f"**{result.outcome}**" if result.bad else result.outcome
    if result.detail and not result.failures:
        outcome += f": {_cell(result.detail)}"
    return f"| {result.check} | {outcome} | {result.cases} | {margin} | {result.seconds:.1f} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _failures(results: list[Result]) -> list[str]:
    lines: list[str] = []
    for result in results:
        for failure in result.failures:
            lines += ["", f"## {result.check}: {failure.case}", "", failure.detail, *_more(failure)]
    return lines


def _more(failure: Failure) -> list[str]:
    lines = [f"First op that goes wrong: `{failure.culprit}`."] if failure.culprit else []
    if failure.script:
        lines += ["", "```python", failure.script.rstrip(), "```"]
    return lines


def _figures(figures: list[Figure]) -> list[str]:
    if not figures:
        return []
    lines = ["", "## Measured figures", "", "| what | value | |", "|---|---|---|"]
    for figure in figures:
        kind = "predicted" if figure.predicted else "measured"
        lines.append(f"| {figure.name} | {figure.value:.4g} {figure.unit} | {kind} |")
    return lines
