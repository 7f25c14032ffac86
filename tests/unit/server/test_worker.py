from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from server_fakes import EchoEngine, build_echo

from tests.waiting import PATIENCE_S
from unisono.core import EngineConfig, Request, SamplingParams, frames
from unisono.core.codec import ProtocolError
from unisono.core.frames import FrameBuffer, encode_frame
from unisono.server.engine.wire import FROM_ENGINE, Abort, Add, Ready, Start, Step
from unisono.server.engine.worker import run

START = Start(Path("/m"), EngineConfig(), 1.0)


class Peer:
    """The API process's side, blocking."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = FrameBuffer(*FROM_ENGINE)
        self._messages: list[Any] = []

    def send(self, message: Any) -> None:
        self.sock.sendall(encode_frame(message))

    def receive(self) -> Any:
        while not self._messages:
            data = self.sock.recv(65536)
            assert data, "the worker has gone"
            self._messages += self._buffer.feed(data)
        return self._messages.pop(0)

    def steps_until_done(self, num_requests: int) -> Iterator[Step]:
        while num_requests:
            step = self.receive()
            assert isinstance(step, Step)
            num_requests -= len(step.rejected)
            num_requests -= sum(output.finish_reason is not None for output in step.outputs)
            yield step


@pytest.fixture
def peer() -> Iterator[Peer]:
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE_S)
    thread = threading.Thread(target=run, args=(theirs, build_echo))
    thread.start()
    with ours, theirs:
        found = Peer(ours)
        found.send(START)
        ready = found.receive()
        assert isinstance(ready, Ready)
        assert ready.facts.vocab_size == 259
        yield found
        ours.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def add(*requests: Request) -> Add:
    return Add.of(requests)


def request(name: str, prompt: tuple[int, ...] = (1, 2), **params: Any) -> Request:
    return Request(id=name, prompt_token_ids=prompt, params=SamplingParams(**params))


def test_all_that_steps_bring(peer: Peer) -> None:
    peer.send(add(request("a", max_tokens=3), request("b", max_tokens=2)))
    steps = list(peer.steps_until_done(2))
    assert [output.request_id for output in steps[0].outputs] == ["a", "b"]
    counts = Counter[str]()
    for step in steps:
        counts.update({output.request_id: len(output.token_ids) for output in step.outputs})
    assert counts == {"a": 3, "b": 2}
    assert steps[-1].stats is not None
    assert steps[-1].stats["num_running"] == 0


def test_a_refused_request_is_named(peer: Peer) -> None:
    peer.send(add(request("long", (1,) * 5000), request("good", max_tokens=1)))
    rejected = [one for step in peer.steps_until_done(2) for one in step.rejected]
    assert [name for name, _ in rejected] == ["long"]


def test_an_answer_that_fits_no_frame_fails_alone(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 1500)
    large = request("large", tuple(range(100)), prompt_logprobs=20, max_tokens=2)
    peer.send(add(large, request("small", max_tokens=2)))
    steps = list(peer.steps_until_done(2))
    assert [name for step in steps for name, _ in step.rejected] == ["large"]
    assert sum(len(output.token_ids) for step in steps for output in step.outputs) == 2


def test_aborted_requests_say_no_more(peer: Peer) -> None:
    peer.send(add(request("a", max_tokens=200), request("b", max_tokens=3)))
    peer.send(Abort(["a"]))
    peer.send(add(request("c", max_tokens=1)))
    list(peer.steps_until_done(2))


@dataclass
class Dance:
    """No message of ours."""


@pytest.mark.parametrize(
    "message", [START, Step([], [], None), Dance(), Add([], [], [request("a")]), Add([()], [1], [])]
)
def test_a_message_that_is_none_ends_the_worker(message: object) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(encode_frame(START))
        ours.sendall(encode_frame(message))
        with pytest.raises(ProtocolError):
            run(theirs, build_echo)


def test_the_first_message_is_the_start() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(encode_frame(add(request("a"))))
        with pytest.raises(ProtocolError):
            run(theirs, build_echo)


def test_a_worker_whose_server_is_gone_ends() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    assert run(theirs, lambda folder, config, vocabulary: EchoEngine()) == 0
    theirs.close()
