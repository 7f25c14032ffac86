from __future__ import annotations

import contextlib
import socket
import struct
from dataclasses import dataclass

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unisono.core import frames
from unisono.core.codec import ProtocolError
from unisono.core.frames import FrameBuffer, Link, encode_frame


@dataclass(frozen=True)
class Note:
    part: bytes


@dataclass(frozen=True)
class Other:
    """Not among the messages that may come."""


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 7))
def test_frames_come_out_however_they_are_cut(parts: list[bytes], size: int) -> None:
    messages = [Note(part) for part in parts]
    stream = b"".join(encode_frame(message) for message in messages)
    buffer = FrameBuffer(Note)
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert [message for piece in pieces for message in buffer.feed(piece)] == messages


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_wait_for_more(content: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        list(FrameBuffer(Note).feed(content))


def test_a_huge_frame_is_refused_before_it_is_read() -> None:
    with pytest.raises(ProtocolError, match="larger"):
        list(FrameBuffer(Note).feed(struct.pack("<I", 0xFFFFFFFF)))


def test_a_message_that_fits_no_frame_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 100)
    with pytest.raises(ProtocolError, match="does not fit"):
        encode_frame(Note(bytes(101)))


@pytest.mark.parametrize("value", [b"", {"a": 1}, [], [1], 5, "text", ["Other"], ["Note"]])
def test_a_frame_that_is_no_message_is_refused(value: object) -> None:
    body = msgpack.packb(value)
    with pytest.raises(ProtocolError):
        list(FrameBuffer(Note).feed(struct.pack("<I", len(body)) + body))


def test_a_link_reads_what_may_come_and_says_when_nobody_is_there() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        here, there = Link(ours, Note), Link(theirs, Note)
        here.send(Note(b"a"))
        here.send(Note(b"b"))
        assert there.receive_one() == Note(b"a")
        assert there.receive(block=True) == [Note(b"b")]
        assert there.receive(block=False) == []
        here.send(Other())
        with pytest.raises(ProtocolError):
            there.receive_one()
        ours.close()
        assert there.receive_one() is None
        assert there.closed
