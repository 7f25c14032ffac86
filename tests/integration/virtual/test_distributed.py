"""The bridge over host memory, with two processes: ``unisono.hardware.ranks.bridge``."""

from __future__ import annotations

import json

import pytest

from tests.integration.virtual.children import decorated, finish, start
from tests.once import once

SCRIPT = "distributed_checks.py"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    def of_both() -> list[dict[str, str]]:
        folder = str(tmp_path_factory.mktemp("group"))
        ranks = [start(SCRIPT, str(rank), folder) for rank in range(2)]
        return [json.loads(finish(rank).splitlines()[-1]) for rank in ranks]

    return once(tmp_path_factory, SCRIPT, of_both)


@pytest.mark.parametrize("name", decorated(SCRIPT, "check"))
def test_two_ranks(name: str, results: list[dict[str, str]]) -> None:
    assert [result[name] for result in results] == ["", ""]
