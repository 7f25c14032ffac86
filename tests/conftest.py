"""The CPU of these tests is plain torch, the reference, even where native kernels are installed;
``UNISONO_IGNORE_PACKAGES=''`` runs them with those. Quantised weights that are kept for the next
start are not kept in the cache of whoever runs tests. Every test draws the same random numbers each
time, whatever ran before it, and so does a fixture that tests share.
``--hypothesis-profile=default`` tries new examples."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "any machine",
    deadline=None,  # of wall time
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("any machine")
os.environ.setdefault("UNISONO_IGNORE_PACKAGES", "unisono-cpu")


@pytest.fixture(scope="session", autouse=True)
def _weights_of_tests_stay_here(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["UNISONO_WEIGHT_CACHE"] = str(tmp_path_factory.mktemp("weights"))


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
    if fixturedef.scope != "function":
        _seed()
    return (yield)


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    _seed()


def _seed() -> None:
    random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
