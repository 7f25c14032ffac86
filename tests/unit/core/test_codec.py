from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgpack
import pytest

from unisono.core import errors
from unisono.core.codec import ProtocolError, as_plain, decode


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    name: str
    pair: tuple[int, float] = (1, 2.0)


@dataclass(slots=True)
class Whole:
    flag: bool
    number: float
    path: Path
    way: Literal["a", "b"] | None
    parts: list[Part]
    maybe: Part | None
    holes: list[Part | None] | None
    rows: Sequence[Sequence[int]]
    many: tuple[str, ...]
    bias: Mapping[int, float]
    either: str | int
    data: bytes
    error: errors.UnisonoError | None = None


@dataclass(frozen=True)
class Alone:
    only: list[int]


@dataclass(frozen=True)
class Empty:
    pass


@dataclass(frozen=True)
class Small:
    number: int

    def __post_init__(self) -> None:
        if self.number > 9:
            raise errors.ConfigError("Too large.")


WHOLE = Whole(
    flag=True,
    number=1,
    path=Path("/a/b"),
    way="b",
    parts=[Part(name="p"), Part(name="q", pair=(3, float("-inf")))],
    maybe=None,
    holes=[None, Part(name="r")],
    rows=[[1, 2], [], [-(1 << 63)]],
    many=("x", ""),
    bias={7: -1.5, -2: 3},
    either=5,
    data=b"\x00\xff",
)


def plain(value: Any) -> Any:
    return msgpack.unpackb(msgpack.packb(value, default=as_plain), strict_map_key=False)


@pytest.mark.parametrize(
    "value",
    [
        WHOLE,
        dataclasses.replace(WHOLE, way=None, maybe=Part(name="m"), holes=None, either="t"),
        Alone([1, 2]),
        Empty(),
        Small(9),
    ],
)
def test_a_value_survives(value: Any) -> None:
    assert decode(type(value), plain(value)) == value


def test_a_dataclass_is_the_list_of_its_fields() -> None:
    assert plain(Part(name="p")) == ["p", [1, 2.0]]
    assert plain(Alone([1])) == [[1]]
    assert plain(Empty()) == []


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("flag", 1),
        ("number", True),
        ("number", "1"),
        ("path", None),
        ("way", "c"),
        ("way", 1),
        ("parts", None),
        ("parts", [None]),
        ("parts", [["p"]]),
        ("parts", [["p", [1, 2.0, 3]]]),
        ("parts", [["p", [1.0, 2.0]]]),
        ("parts", {"p": 1}),
        ("maybe", [1, [1, 2.0]]),
        ("holes", [[]]),
        ("rows", [1]),
        ("rows", [[1], [True]]),
        ("rows", [["1"]]),
        ("many", [b"x"]),
        ("bias", [[7, 1.0]]),
        ("bias", {"7": 1.0}),
        ("bias", {7: None}),
        ("either", 1.0),
        ("data", "text"),
        ("error", ["NoSuchError", "What.", "", None]),
        ("error", ["ConfigError", "What."]),
        ("error", ["ConfigError", 1, "", None]),
    ],
)
def test_a_wrong_field_is_refused(name: str, wrong: object) -> None:
    fields = plain(WHOLE)
    fields[[field.name for field in dataclasses.fields(Whole)].index(name)] = wrong
    with pytest.raises(ProtocolError):
        decode(Whole, fields)


@pytest.mark.parametrize("fields", [[], [1, 2], ["1"], [10], 5, None, {"number": 1}])
def test_what_is_no_such_dataclass_is_refused(fields: object) -> None:
    with pytest.raises(ProtocolError):
        decode(Small, fields)


@pytest.mark.parametrize(
    "name", sorted(name for name, kind in vars(errors).items() if isinstance(kind, type))
)
def test_every_error_survives(name: str) -> None:
    kind = getattr(errors, name)
    extra = {"retry_after_s": 2} if name == "QueueFullError" else {}
    found = over(kind("What.", hint="Do.", **extra))
    assert type(found) is kind
    assert str(found) == "What. Do."


def test_what_an_error_knows_besides_survives() -> None:
    found = over(errors.ContextLengthError("Long.", param="prompt"))
    assert isinstance(found, errors.ContextLengthError)
    assert found.param == "prompt"
    full = over(errors.QueueFullError("Full.", retry_after_s=9, hint="Wait."))
    assert isinstance(full, errors.QueueFullError)
    assert (full.message, full.hint, full.retry_after_s) == ("Full.", "Wait.", 9)


def test_an_error_of_a_kind_of_its_own_becomes_its_base() -> None:
    class Special(errors.EngineDeadError):
        pass

    assert type(over(Special("Gone."))) is errors.EngineDeadError


def over(error: errors.UnisonoError) -> errors.UnisonoError:
    return decode(errors.UnisonoError, plain(error))


def test_other_types_neither_leave_nor_arrive() -> None:
    with pytest.raises(TypeError, match="cannot cross"):
        msgpack.packb([object()], default=as_plain)
    for kind in (object, set[int], list[int] | dict[str, int], str | Path):
        with pytest.raises(TypeError):
            decode(kind, [])  # type: ignore[arg-type]
