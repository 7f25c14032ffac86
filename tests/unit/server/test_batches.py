"""Files and batches, over an engine that says what the prompt says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from echo_client import client_of
from server_fakes import KEY, LocalHost

from tests.waiting import PATIENCE_S
from unisono.core.errors import ConfigError, EngineDeadError
from unisono.server.app import create_app
from unisono.server.batches.batch_runner import BatchRunner
from unisono.server.settings import Limits, ServerSettings
from unisono.text import Tokenizer

Settings = Callable[..., ServerSettings]
OTHER = "key-of-another-0001"
END = {"completed", "failed", "cancelled", "expired"}
CHAT = "/v1/chat/completions"


@asynccontextmanager
async def running(
    folder: Path,
    tokenizer: Tokenizer,
    settings: Settings,
    host: LocalHost | None = None,
    **options: Any,
) -> AsyncIterator[tuple[openai.AsyncOpenAI, openai.AsyncOpenAI]]:
    """The clients of two keys, of a server that ends with them."""
    app = create_app(
        settings(batch_dir=folder, api_keys=(KEY, OTHER), **options),
        host or LocalHost(),
        tokenizer,
    )
    app.state.service.batches.runner.begin()
    async with client_of(app) as mine, client_of(app, OTHER) as others:
        yield api(mine, KEY), api(others, OTHER)
    app.state.service.close()
    await asyncio.sleep(0)


def api(client: httpx.AsyncClient, key: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url="http://test/v1", api_key=key, http_client=client, max_retries=0
    )


def line(name: str, text: str, **fields: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 4, **fields}
    return {"custom_id": name, "method": "POST", "url": CHAT, "body": body}


def jsonl(*lines: Any) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


async def start(client: openai.AsyncOpenAI, content: bytes, **fields: Any) -> openai.types.Batch:
    file = await client.files.create(file=("in.jsonl", content), purpose="batch")
    return await client.batches.create(
        input_file_id=file.id,
        completion_window="24h",
        **{"endpoint": CHAT, **fields},
    )


async def ended(client: openai.AsyncOpenAI, name: str) -> openai.types.Batch:
    async def wait() -> openai.types.Batch:
        while (batch := await client.batches.retrieve(name)).status not in END:
            await asyncio.sleep(0)
        return batch

    return await asyncio.wait_for(wait(), PATIENCE_S)


async def results(client: openai.AsyncOpenAI, name: str | None) -> dict[str, Any]:
    """Results by ``custom_id``."""
    assert name is not None
    content = (await client.files.content(name)).content
    found = [json.loads(each) for each in content.splitlines()]
    assert len({each["custom_id"] for each in found}) == len(found)
    return {each["custom_id"]: each for each in found}


async def test_a_batch(tmp_path: Path, tokenizer: Tokenizer, settings: Settings) -> None:
    async with running(tmp_path, tokenizer, settings) as (client, _):
        lines = [line(f"n{i}", "Hello") for i in range(20)]
        bad = [line("hot", "a", temperature="hot"), line("other", "a", model="other")]
        batch = await start(client, jsonl(*lines, *bad), metadata={"a": "b"})
        assert (batch.status, batch.metadata) == ("validating", {"a": "b"})
        batch = await ended(client, batch.id)
        assert batch.status == "completed"
        assert batch.request_counts is not None
        counts = batch.request_counts
        assert (counts.total, counts.completed, counts.failed) == (22, 20, 2)
        found = await results(client, batch.output_file_id)
        assert found.keys() == {each["custom_id"] for each in lines}
        answer = found["n3"]["response"]
        assert answer["status_code"] == 200
        assert answer["body"]["choices"][0]["message"]["content"] == "u:He"
        failed = await results(client, batch.error_file_id)
        assert failed["hot"]["response"]["status_code"] == 400
        assert failed["hot"]["response"]["body"]["error"]["param"] == "temperature"
        assert failed["other"]["response"]["status_code"] == 404
        assert [each.id async for each in client.batches.list()] == [batch.id]
        files = [each async for each in client.files.list()]
        assert {each.purpose for each in files} == {"batch", "batch_output"}
        with pytest.raises(openai.BadRequestError, match="at its end"):
            await client.batches.cancel(batch.id)
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.rglob("*"))


async def test_other_endpoints(tmp_path: Path, tokenizer: Tokenizer, settings: Settings) -> None:
    bodies: dict[str, Any] = {
        "/v1/completions": {"prompt": "ab", "max_tokens": 3},
        "/v1/responses": {"input": "ab", "max_output_tokens": 3},
    }
    async with running(tmp_path, tokenizer, settings) as (client, _):
        for url, body in bodies.items():
            one = {"custom_id": "x", "method": "POST", "url": url, "body": body}
            batch = await ended(client, (await start(client, jsonl(one), endpoint=url)).id)
            found = await results(client, batch.output_file_id)
            assert found["x"]["response"]["body"]["usage"]


async def test_a_restart_goes_on(tmp_path: Path, tokenizer: Tokenizer, settings: Settings) -> None:
    """No request is answered twice, and a line that was being written is written anew."""
    host = LocalHost()
    host.failure = EngineDeadError("Gone.")
    async with running(tmp_path, tokenizer, settings, host) as (client, _):
        batch = await start(client, jsonl(*(line(f"n{i}", "Hello") for i in range(6))))
        while not host.num_steps and (await client.batches.retrieve(batch.id)).status != (
            "in_progress"
        ):
            await asyncio.sleep(0)
    folder = next(tmp_path.glob("*/batches"))
    done = {"id": "batch_req_1", "custom_id": "n2", "response": {"status_code": 200}}
    (folder / f"{batch.id}.output").write_bytes(jsonl(done) + b'{"id": "batch_req_2", "cus')
    host = LocalHost()
    async with running(tmp_path, tokenizer, settings, host) as (client, _):
        batch = await ended(client, batch.id)
        assert batch.status == "completed"
        found = await results(client, batch.output_file_id)
        assert found.keys() == {f"n{i}" for i in range(6)}
        assert found["n2"]["id"] == "batch_req_1"
        assert len(host.requests) == 5
        assert all(one.priority == 1 for one in host.requests)


async def test_a_batch_is_cancelled(
    tmp_path: Path, tokenizer: Tokenizer, settings: Settings
) -> None:
    host = LocalHost()
    host.failure = EngineDeadError("Gone.")
    async with running(tmp_path, tokenizer, settings, host) as (client, _):
        batch = await start(client, jsonl(line("a", "Hello")))
        waiting = await start(client, jsonl(line("b", "Hello")))
        for each in (waiting, batch):
            assert (await client.batches.cancel(each.id)).status == "cancelling"
        for each in (batch, waiting):
            assert (await ended(client, each.id)).status == "cancelled"


async def test_a_request_that_kills_the_engine_is_given_up(
    tmp_path: Path, tokenizer: Tokenizer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(runner: BatchRunner, batch: Any, seconds: float) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(BatchRunner, "_pause", at_once)
    host = LocalHost()
    host.failure = EngineDeadError("Gone.")
    async with running(tmp_path, tokenizer, settings, host) as (client, _):
        batch = await ended(client, (await start(client, jsonl(line("a", "Hello")))).id)
        found = await results(client, batch.error_file_id)
        assert found["a"]["response"]["body"]["error"]["code"] == "engine_died"


async def test_keys_have_files_of_their_own(
    tmp_path: Path, tokenizer: Tokenizer, settings: Settings
) -> None:
    async with running(tmp_path, tokenizer, settings) as (mine, other):
        batch = await start(mine, jsonl(line("a", "Hello")))
        for call in (
            other.files.retrieve(batch.input_file_id),
            other.files.content(batch.input_file_id),
            other.files.delete(batch.input_file_id),
            other.batches.retrieve(batch.id),
            other.batches.cancel(batch.id),
            other.batches.create(
                input_file_id=batch.input_file_id, endpoint=CHAT, completion_window="24h"
            ),
        ):
            with pytest.raises(openai.NotFoundError):
                await call
        assert not [each async for each in other.files.list()]
        assert not [each async for each in other.batches.list()]
        await ended(mine, batch.id)
        assert (await mine.files.delete(batch.input_file_id)).deleted
        with pytest.raises(openai.NotFoundError):
            await mine.files.retrieve(batch.input_file_id)


BAD_LINES = [
    (b"", "empty_file"),
    (b"no json\n", "invalid_json_line"),
    (b"[" * 100_000 + b"\n", "invalid_json_line"),
    (b"[1]\n", "invalid_json_line"),
    (jsonl({"method": "POST"}), "missing_custom_id"),
    (jsonl({**line("a", "b"), "method": "GET"}), "invalid_method"),
    (jsonl({**line("a", "b"), "url": "/v1/completions"}), "mismatched_url"),
    (jsonl({**line("a", "b"), "body": 5}), "missing_body"),
    (jsonl(line("a", "b", stream=True)), "stream_not_supported"),
    (jsonl(line("a", "b"), line("a", "c")), "duplicate_custom_id"),
    (jsonl(line("a", "b" * 200_000)), "line_too_large"),
    (jsonl(*(line(f"{i}", "b") for i in range(9))), "too_many_lines"),
]


async def test_a_file_that_is_wrong(
    tmp_path: Path, tokenizer: Tokenizer, settings: Settings
) -> None:
    limits = Limits(body_bytes=150_000, batch_lines=8)
    async with running(tmp_path, tokenizer, settings, limits=limits) as (client, _):
        for content, code in BAD_LINES:
            batch = await ended(client, (await start(client, content)).id)
            assert batch.status == "failed"
            assert batch.errors is not None
            assert batch.errors.data is not None
            assert batch.errors.data[0].code == code


async def test_what_is_wrong_with_an_upload(
    tmp_path: Path, tokenizer: Tokenizer, settings: Settings
) -> None:
    limits = Limits(file_bytes=2000, files_bytes=3000, files=2)
    async with running(tmp_path, tokenizer, settings, limits=limits) as (client, _):
        with pytest.raises(openai.BadRequestError, match="batch"):
            await client.files.create(file=b"a", purpose="fine-tune")
        with pytest.raises(openai.APIStatusError, match="than the 2000 bytes"):
            await client.files.create(file=b"a" * 2000, purpose="batch")
        named = await client.files.create(file=("../../x", b"\r\n--a\r\n"), purpose="batch")
        assert (named.filename, named.bytes) == ("x", 7)
        assert (await client.files.content(named.id)).content == b"\r\n--a\r\n"
        for name in ("../lock", "lock", "file-" + "0" * 24):
            with pytest.raises(openai.NotFoundError):
                await client.files.content(name)
        await client.files.create(file=b"a" * 1600, purpose="batch")
        with pytest.raises(openai.BadRequestError, match="2 files"):
            await client.files.create(file=b"a", purpose="batch")
        await client.files.delete(named.id)
        with pytest.raises(openai.BadRequestError, match="full"):
            await client.files.create(file=b"a" * 1600, purpose="batch")
        raw = client._client
        for kind, content in (
            ("application/json", b"{}"),
            ("multipart/form-data", b"--a--"),
            ("multipart/form-data; boundary=a", b""),
            ("multipart/form-data; boundary=a", b"--a\r\nno header"),
            ("multipart/form-data; boundary=a", b"--a\r\n\r\nno name\r\n--a--\r\n"),
        ):
            headers = {"content-type": kind}
            answer = await raw.post("/v1/files", content=content, headers=headers)
            assert answer.status_code == 400, answer.text
    assert not list(tmp_path.glob("*.part"))


async def test_what_is_wrong_with_a_batch(
    tmp_path: Path, tokenizer: Tokenizer, settings: Settings
) -> None:
    async with running(tmp_path, tokenizer, settings) as (client, _):
        for fields in ({"endpoint": "/health"}, {"output_expires_after": {"seconds": 5}}):
            with pytest.raises(openai.BadRequestError):
                await start(client, b"", **fields)
        with pytest.raises(openai.NotFoundError):
            await client.batches.retrieve("batch_../../lock")
        with pytest.raises(openai.BadRequestError):
            await client.batches.list(limit=0)


async def test_a_server_without_a_folder_says_so(client: httpx.AsyncClient) -> None:
    for answer in (await client.get("/v1/files"), await client.post("/v1/batches", json={})):
        assert (answer.status_code, "--batch-dir" in answer.text) == (400, True)


async def test_one_server_a_folder(
    tmp_path: Path, tokenizer: Tokenizer, settings: Settings
) -> None:
    async with running(tmp_path, tokenizer, settings):
        with pytest.raises(ConfigError, match="Another server"):
            create_app(settings(batch_dir=tmp_path), LocalHost(), tokenizer)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be used"):
        create_app(settings(batch_dir=tmp_path / "file"), LocalHost(), tokenizer)
