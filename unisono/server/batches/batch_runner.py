"""Runs batches: one at a time for each tenant, some requests of it at once, each as if a client had
sent it.

Results are appended to two files as they come; whatever ends the server, the next one goes on
behind them. Knows batches, files and inner requests; nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from unisono.server.batches.batch_lines import (
    LineLimits,
    answered_in,
    append_result,
    check_file,
    requests_of,
    result_of,
)
from unisono.server.batches.batch_object import UNFINISHED, move_to
from unisono.server.batches.file_store import FileStore
from unisono.server.batches.inner_request import Route, ask
from unisono.server.batches.records import Records, new_id
from unisono.server.batches.running_tasks import RunningTasks

Json = dict[str, Any]
_BUSY = (429, 503)
_DEADLY = ("engine_died", "helper_failed")
_MOST_DEATHS = 3
"""A request is not asked again after so many processes have died over it, or beside it."""
_LATER = 1
"""Priority of a batch's requests: behind those that someone waits for."""
_log = logging.getLogger("unisono.server")


class BatchRunner:
    """Args:
    routes: by the endpoint of batches.
    num_at_once: requests of all batches that are being answered.
    """

    def __init__(
        self,
        app: FastAPI,
        routes: Mapping[str, Route],
        files: FileStore,
        batches: Records,
        limits: LineLimits,
        num_at_once: int,
    ) -> None:
        self._app = app
        self._routes = routes
        self._files = files
        self._batches = batches
        self._limits = limits
        self._room = asyncio.Semaphore(num_at_once)
        self._waiting: defaultdict[str, list[Json]] = defaultdict(list)
        self._running: dict[str, Json] = {}
        """The batch of each tenant that is being run."""
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._stops: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        """By batch: set where it is to be cancelled."""
        self._has_begun = False

    def begin(self) -> None:
        """Goes on with what an earlier server has left, once."""
        if not self._has_begun:
            self._has_begun = True
            for tenant, batch in self._batches.everyones():
                if batch["status"] in UNFINISHED:
                    self.add(tenant, batch)

    def add(self, tenant: str, batch: Json) -> None:
        """Takes a batch that is stored already."""
        self._waiting[tenant].append(batch)
        if tenant not in self._workers:
            self._workers[tenant] = asyncio.create_task(self._work(tenant))

    def current(self, tenant: str, name: str) -> Json | None:
        """The batch as it is now, if it is not at its end."""
        known = [*self._waiting.get(tenant, ()), self._running.get(tenant)]
        return next((one for one in known if one is not None and one["id"] == name), None)

    async def cancel(self, tenant: str, batch: Json) -> None:
        """Lets a batch that is not at its end come to it soon."""
        move_to(batch, "cancelling")
        self._stops[batch["id"]].set()
        await self._save(tenant, batch)

    def close(self) -> None:
        for worker in self._workers.values():
            worker.cancel()

    async def _work(self, tenant: str) -> None:
        try:
            while self._waiting[tenant]:
                batch = self._running[tenant] = self._waiting[tenant].pop(0)
                await self._run(tenant, batch)
                self._stops.pop(batch["id"], None)
        finally:
            self._running.pop(tenant, None)
            self._waiting.pop(tenant, None)
            del self._workers[tenant]

    async def _run(self, tenant: str, batch: Json) -> None:
        try:
            if batch["status"] == "validating":
                await self._validate(tenant, batch)
            if batch["status"] == "in_progress":
                await self._answer_all(tenant, batch)
            if batch["status"] != "failed":
                await self._finish(tenant, batch)
        except Exception as error:
            _log.exception("A batch failed.")
            reason = "The server could not read or write the files of this batch."
            batch["errors"] = _errors([{"code": type(error).__name__, "message": reason}])
            move_to(batch, "failed")
            await self._save(tenant, batch)

    async def _validate(self, tenant: str, batch: Json) -> None:
        source = self._files.data(tenant, batch["input_file_id"])
        if source is None:
            missing = {"code": "file_not_found", "message": "The input file is gone."}
            num_lines, errors = 0, [missing]
        else:
            given = (source, batch["endpoint"], self._limits)
            num_lines, errors = await asyncio.to_thread(check_file, *given)
        if batch["status"] == "cancelling":
            return
        batch["request_counts"]["total"] = num_lines
        if errors:
            batch["errors"] = _errors(errors)
        move_to(batch, "failed" if errors else "in_progress")
        await self._save(tenant, batch)

    async def _answer_all(self, tenant: str, batch: Json) -> None:
        counts = batch["request_counts"]
        output, failed = self._results(tenant, batch)
        done = [await asyncio.to_thread(answered_in, path) for path in (output, failed)]
        counts |= {"completed": len(done[0]), "failed": len(done[1])}
        source = self._files.data(tenant, batch["input_file_id"])
        if source is None:
            return
        waiting = requests_of(source, batch["endpoint"], self._limits)
        running = RunningTasks()
        try:
            while (line := await asyncio.to_thread(_next, waiting)) is not None:
                if line["custom_id"] in done[0] or line["custom_id"] in done[1]:
                    continue
                await self._room.acquire()
                if batch["status"] == "cancelling":
                    self._room.release()
                    break
                running.add(self._answer(tenant, batch, line))
            await running.wait()
        finally:
            running.cancel()

    async def _answer(self, tenant: str, batch: Json, line: Json) -> None:
        try:
            result = await self._result(tenant, batch, line)
        finally:
            self._room.release()
        if result is None:
            return
        is_good = result["response"] is not None and result["response"]["status_code"] == 200
        path = self._results(tenant, batch)[0 if is_good else 1]
        await asyncio.to_thread(append_result, path, result)
        batch["request_counts"]["completed" if is_good else "failed"] += 1

    async def _result(self, tenant: str, batch: Json, line: Json) -> Json | None:
        """The line of a result; a request that is refused for now is asked again."""
        path = batch["endpoint"]
        body = json.dumps({"priority": _LATER, **line["body"]}).encode()
        num_deaths = 0
        while time.time() < batch["expires_at"]:
            answer = await ask(self._app, self._routes[path], path, body, tenant)
            num_deaths += answer.code in _DEADLY
            if answer.status not in _BUSY or num_deaths == _MOST_DEATHS:
                response = {"status_code": answer.status, "request_id": answer.request_id}
                return result_of(line["custom_id"], {**response, "body": answer.body})
            if batch["status"] == "cancelling":
                return None
            await self._pause(batch, answer.retry_after_s or 1)
        expired = {"code": "batch_expired", "message": "The batch's time was over."}
        return result_of(line["custom_id"], None, expired)

    async def _pause(self, batch: Json, seconds: float) -> None:
        """Waits, but not for a batch that is to be cancelled."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._stops[batch["id"]].wait(), seconds)

    async def _finish(self, tenant: str, batch: Json) -> None:
        """Results become files. Done again after a restart, it comes to the same."""
        end = "cancelled" if batch["status"] == "cancelling" else "completed"
        if end == "completed" and time.time() >= batch["expires_at"]:
            end = "expired"
        names = ("output_file_id", "error_file_id")
        results = list(zip(names, self._results(tenant, batch), strict=True))
        if batch["status"] != "finalizing" and end == "completed":
            move_to(batch, "finalizing")
        for name, path in results:
            if batch[name] is None and path.exists():
                batch[name] = new_id("file-")
        await self._save(tenant, batch)
        for name, path in results:
            if batch[name] is not None:
                called = f"{batch['id']}_{name.removesuffix('_file_id')}.jsonl"
                given = {"filename": called, "purpose": "batch_output", "name": batch[name]}
                await asyncio.to_thread(self._files.add, tenant, path, **given)
        move_to(batch, end)
        await self._save(tenant, batch)

    def _results(self, tenant: str, batch: Json) -> tuple[Path, Path]:
        """Files that results go to: those of answers, and those of errors."""
        path = self._batches.path
        return path(tenant, batch["id"], ".output"), path(tenant, batch["id"], ".errors")

    async def _save(self, tenant: str, batch: Json) -> None:
        await asyncio.to_thread(self._batches.save, tenant, batch)


def _next(lines: Iterator[Json]) -> Json | None:
    return next(lines, None)


def _errors(found: list[Json]) -> Json:
    empty = {"line": None, "param": None}
    return {"object": "list", "data": [{**empty, **error} for error in found]}
