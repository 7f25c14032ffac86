"""One server of each kind, for all tests of a run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.served import Served, serve_demo, serve_scripted


@pytest.fixture(scope="session")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The model that obeys: calls, thoughts and texts that a test asks for."""
    served = serve_scripted(tmp_path_factory.mktemp("scripted"))
    yield served
    served.stop()


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The real engine: sampling, grammars, log-probabilities."""
    served = serve_demo(tmp_path_factory.mktemp("demo"))
    yield served
    served.stop()
