"""Stored responses: tenants apart, bounds, and what survives a restart."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from unisono.core.errors import ConfigError
from unisono.server.api_error import ApiError
from unisono.server.responses.conversations import Conversations
from unisono.server.responses.response_store import MemoryStore, ResponseStore, StoreLimits
from unisono.server.responses.sqlite_store import SqliteStore

LIMITS = StoreLimits(records=4, num_bytes=100)


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ResponseStore]:
    found = MemoryStore(LIMITS) if request.param == "memory" else in_file(tmp_path)
    yield found
    found.close()


def in_file(folder: Path, limits: StoreLimits = LIMITS) -> SqliteStore:
    return SqliteStore(folder / "responses.db", limits)


async def held(store: ResponseStore, tenant: str, names: str) -> str:
    return "".join([name for name in names if await store.get(tenant, name) is not None])


async def test_tenants_do_not_see_each_other(store: ResponseStore) -> None:
    assert await store.put("a", "x", b"1")
    assert await store.get("b", "x") is None
    assert not await store.delete("b", "x")
    assert await store.put("b", "x", b"2")
    assert (await store.get("a", "x"), await store.get("b", "x")) == (b"1", b"2")
    assert await store.delete("a", "x")
    assert await store.get("a", "x") is None
    assert await store.get("b", "x") == b"2"


async def test_what_was_used_least_recently_gives_way(store: ResponseStore) -> None:
    for name in "wxyz":
        await store.put("a", name, b"1")
    await store.get("a", "w")
    await store.put("a", "v", b"1")
    assert await held(store, "a", "vwxyz") == "vwyz"
    assert await store.put("a", "u", b"1" * 98)
    assert await held(store, "a", "uvwyz") == "uyz"
    assert not await store.put("a", "t", b"1" * 101)


async def test_the_tenant_that_holds_most_gives_way(store: ResponseStore) -> None:
    await store.put("b", "x", b"1")
    for name in "stuvwxyz":
        await store.put("a", name, b"12")
    assert await held(store, "b", "x") == "x"
    assert await held(store, "a", "stuvwxyz") == "xyz"


async def test_a_file_outlives_its_server(tmp_path: Path) -> None:
    first = in_file(tmp_path)
    for name in "wx":
        await first.put("a", name, name.encode())
    await first.get("a", "w")
    first.close()
    path = tmp_path / "responses.db"
    assert path.stat().st_mode & 0o777 == 0o600
    assert b"secret" not in path.read_bytes()
    again = in_file(tmp_path, StoreLimits(records=2, num_bytes=100))
    await again.put("a", "y", b"secret")
    assert await held(again, "a", "wxy") == "wy"
    await again.delete("a", "y")
    again.close()
    assert b"secret" not in path.read_bytes()


def test_a_file_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE responses (x)")
    db.close()
    text = tmp_path / "text"
    text.write_text("This is not a database, but a text that is long enough to be one." * 20)
    link = tmp_path / "link"
    link.symlink_to(other)
    for path in (other, text, link, tmp_path / "none" / "x", tmp_path):
        with pytest.raises(ConfigError, match="cannot be used"):
            SqliteStore(path, LIMITS)
    one = in_file(tmp_path)
    with pytest.raises(ConfigError, match="Another process"):
        in_file(tmp_path)
    one.close()


async def test_a_file_that_fails_fails_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = in_file(tmp_path)
    conversations = Conversations(store, 1000)

    def fail(*given: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(store, "_put", fail)
    monkeypatch.setattr(store, "_get", fail)
    assert not await conversations.keep("a", kept("resp_1", None), [])
    with pytest.raises(ApiError) as raised:
        await conversations.response("a", "resp_1")
    assert (raised.value.status, raised.value.code) == (503, "store_failed")
    conversations.close()


def kept(name: str, before: str | None) -> dict[str, object]:
    return {"id": name, "previous_response_id": before, "output": []}


async def test_a_conversation_has_bounds() -> None:
    """A turn that a later one needs is missing, or all are too long."""
    wide = Conversations(MemoryStore(StoreLimits()), 10_000)
    await wide.keep("a", kept("1", None), [{"x": 1}])
    await wide.keep("a", kept("2", "1"), [{"x": 2}])
    assert await wide.before("a", "2") == [{"x": 1}, {"x": 2}]
    narrow = Conversations(wide._store, 100)
    with pytest.raises(Exception, match="100 bytes"):
        await narrow.before("a", "2")
    await wide.delete("a", "1")
    with pytest.raises(ApiError, match="before that one"):
        await wide.before("a", "2")
