"""Options of the command line that hold an answer to a language, or give it tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from unisono.cli.constraint_options import LANGUAGE, read_tools
from unisono.core.constraint import Constraint
from unisono.core.errors import ConfigError
from unisono.core.sampling import SamplingParams


def constraint(**options: Any) -> Constraint | None:
    given: dict[str, Any] = {**LANGUAGE.defaults, **options}
    params: SamplingParams = LANGUAGE.take(given).added_to(SamplingParams())
    return params.constraint


def test_each_option_makes_a_constraint(tmp_path: Path) -> None:
    grammar = tmp_path / "answer.lark"
    grammar.write_text('start: "a"')
    schema = tmp_path / "answer.json"
    schema.write_text('{"enum": [1]}')
    assert constraint() is None
    assert constraint(regex="[a-z]") == Constraint("regex", "[a-z]")
    assert constraint(choice=["a", "b"]) == Constraint("choice", '["a","b"]')
    assert constraint(grammar=str(grammar)) == Constraint("grammar", 'start: "a"')
    assert constraint(grammar='start: "b"') == Constraint("grammar", 'start: "b"')
    assert constraint(schema=str(schema)) == Constraint("schema", '{"enum": [1]}')
    assert constraint(schema="true") == Constraint("schema", "true")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"regex": "a", "choice": ["b"]}, "--regex and --choice both"),
        ({"grammar": "nowhere.lark"}, "--grammar is neither"),
        ({"schema": "nowhere.json"}, "--schema is neither"),
        ({"schema": '{"type": '}, "--schema is no JSON"),
    ],
)
def test_what_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        constraint(**options)


def test_tools(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "clock"}}]
    file = tmp_path / "tools.json"
    file.write_text(json.dumps(tools))
    assert read_tools(None) is None
    assert read_tools(str(file)) == tools
    assert read_tools('{"name": "clock"}') == [{"name": "clock"}]
    for wrong in ("[]", "[1]"):
        with pytest.raises(ConfigError, match="no list of functions"):
            read_tools(wrong)
    with pytest.raises(ConfigError, match="neither JSON nor a file"):
        read_tools("nowhere.json")
