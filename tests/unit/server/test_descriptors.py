from __future__ import annotations

import resource
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
from unisono.server.http.descriptors import connection_room
print(connection_room(int(sys.argv[3])), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def room(soft: int, hard: int, wanted: int) -> tuple[int, int]:
    command = [sys.executable, "-c", PROGRAM, str(soft), str(hard), str(wanted)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return int(found[0]), int(found[1])


@pytest.fixture
def hard() -> int:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return 1 << 20 if limit == resource.RLIM_INFINITY else limit


def test_the_soft_limit_is_raised_for_what_is_wanted(hard: int) -> None:
    assert hard > 1000
    connections, soft = room(256, hard, 500)
    assert connections == 500
    assert 500 < soft <= 1000


def test_no_more_than_the_hard_limit_allows_and_some_are_left() -> None:
    connections, soft = room(300, 400, 4096)
    assert soft == 400
    assert 100 < connections < 300


def test_a_limit_that_is_high_enough_stays() -> None:
    assert room(400, 400, 50) == (50, 400)
    assert room(400, 400, 3) == (3, 400)


def test_a_tiny_limit_still_serves() -> None:
    assert room(100, 100, 4096)[0] > 0
