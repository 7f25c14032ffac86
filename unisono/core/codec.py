"""Values that cross a process, written and read by the fields and types of their dataclasses.

A dataclass is the list of its fields, in their order; a path is a text; an error is its kind,
message, hint and one extra. What is read is checked field by field, so that a peer gone wrong shows
as a ``ProtocolError`` and never as a strange object further in. No pickle.

Types that can cross: ``None``, ``bool``, ``int``, ``float`` (or an integer), ``str``, ``bytes``,
``Path``, ``Literal``, ``UnisonoError``, dataclasses, lists, sequences, tuples, mappings, and unions
of one of these with ``None`` or of plain ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from operator import attrgetter
from pathlib import Path, PurePath
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    NamedTuple,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from unisono.core import errors

T = TypeVar("T")
_PLAIN: dict[Any, frozenset[type]] = {
    None: frozenset({NoneType}),
    float: frozenset({float, int}),
    **{kind: frozenset({kind}) for kind in (NoneType, bool, int, str, bytes)},
}
_LIST, _DICT, _TEXT = frozenset({list}), frozenset({dict}), frozenset({str})
_ERROR_KINDS: dict[str, type[errors.UnisonoError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.UnisonoError)
}


class ProtocolError(Exception):
    """The other side sent something that is no message."""


def as_plain(value: Any) -> Any:
    """One step towards lists, texts and numbers: the ``default`` of msgpack's packer."""
    return _WRITERS[type(value)](value)


def decode(kind: type[T], data: Any) -> T:
    """The value of type ``kind`` that ``as_plain`` and msgpack made ``data`` of.

    Raises:
        ProtocolError: ``data`` is no such value.
    """
    reader = _reader(cast(Any, kind))
    _check(type(data) in reader.kinds, kind)
    value: T = data if reader.read is None or data is None else reader.read(data)
    return value


def _writer(kind: type) -> Callable[[Any], Any]:
    if issubclass(kind, PurePath):
        return str
    if issubclass(kind, errors.UnisonoError):
        return _error_fields
    if not dataclasses.is_dataclass(kind):
        raise TypeError(f"{kind.__name__} cannot cross a process")
    names = [field.name for field in dataclasses.fields(kind)]
    get = attrgetter(*names) if len(names) > 1 else lambda it: [getattr(it, name) for name in names]
    types = get_type_hints(kind)
    items = [_item_kind(types[name]) for name in names]
    writers = [(index, _WRITERS[item]) for index, item in enumerate(items) if item is not None]

    def write(value: Any) -> list[Any]:
        fields = [*get(value)]
        for index, write_item in writers:
            fields[index] = [*map(write_item, fields[index])]  # faster than one by one
        return fields

    return write if writers else get


def _item_kind(kind: Any) -> type | None:
    """The dataclass of whose values ``kind`` is a list; None where it is no such list."""
    item = get_args(kind)[0] if get_origin(kind) is list else None
    return item if isinstance(item, type) and dataclasses.is_dataclass(item) else None


class _Writers(dict[type, Callable[[Any], Any]]):
    """One for each type, made when it is first needed."""

    def __missing__(self, kind: type) -> Callable[[Any], Any]:
        return self.setdefault(kind, _writer(kind))


_WRITERS = _Writers()


class _Reader(NamedTuple):
    """``kinds``: what msgpack may have made of the value. ``read``: from that to the value, never
    given ``None``; it is missing where both are the same."""

    kinds: frozenset[type]
    read: Callable[[Any], Any] | None = None


@cache
def _reader(kind: Any) -> _Reader:
    if kind in _PLAIN:
        return _Reader(_PLAIN[kind])
    if kind is Path:
        return _Reader(_TEXT, Path)
    if kind is errors.UnisonoError:
        return _Reader(_LIST, _error)
    if dataclasses.is_dataclass(kind):
        return _Reader(_LIST, _record(kind))
    arguments = get_args(kind)
    match get_origin(kind):
        case origin if origin in (Union, UnionType):
            return _union([_reader(one) for one in arguments])
        case origin if origin is Literal:
            return _Reader(frozenset(map(type, arguments)), _choice(frozenset(arguments)))
        case origin if origin in (list, Sequence):
            return _Reader(_LIST, _items(_reader(arguments[0]), list))
        case origin if origin is tuple:
            if arguments[1:] == (...,):
                return _Reader(_LIST, _items(_reader(arguments[0]), tuple))
            return _Reader(_LIST, _fields(str(kind), [_reader(one) for one in arguments], tuple))
        case origin if origin in (dict, Mapping):
            return _Reader(_DICT, _entries(*map(_reader, arguments)))
    raise TypeError(f"{kind} cannot cross a process")


def _union(members: list[_Reader]) -> _Reader:
    reads = [member.read for member in members if member.read is not None]
    if reads and len(members) - members.count(_reader(None)) > 1:
        raise TypeError("a union is of plain types, or of one other and None")
    return _Reader(frozenset[type]().union(*(member.kinds for member in members)), *reads)


def _choice(choices: frozenset[Any]) -> Callable[[Any], Any]:
    def read(data: Any) -> Any:
        _check(data in choices, choices)
        return data

    return read


def _items(item: _Reader, make: type) -> Callable[[list[Any]], Any]:
    kinds, read_item = item

    def read(data: list[Any]) -> Any:
        if not kinds.issuperset(map(type, data)):
            raise ProtocolError("a list of wrong items")
        if read_item is not None:
            data = [None if value is None else read_item(value) for value in data]
        return data if make is list else make(data)

    return read


def _entries(key: _Reader, value: _Reader) -> Callable[[dict[Any, Any]], Any]:
    read_keys, read_values = _items(key, list), _items(value, list)
    return lambda data: dict(zip(read_keys([*data]), read_values([*data.values()]), strict=True))


def _fields(
    name: str, readers: Sequence[_Reader], make: Callable[[list[Any]], Any]
) -> Callable[[list[Any]], Any]:
    size, kinds = len(readers), [reader.kinds for reader in readers]
    deep = [(index, reader.read) for index, reader in enumerate(readers) if reader.read is not None]

    def read(data: list[Any]) -> Any:
        _check(len(data) == size, name)
        for value, allowed in zip(data, kinds, strict=True):
            if type(value) not in allowed:
                raise ProtocolError(f"a field of {name} is a {type(value).__name__}")
        values = [*data]
        for index, read_field in deep:
            if (value := values[index]) is not None:
                values[index] = read_field(value)
        return make(values)

    return read


def _record(kind: Any) -> Callable[[list[Any]], Any]:
    fields, types = dataclasses.fields(kind), get_type_hints(kind)
    names = [field.name for field in fields]
    by_name = any(field.kw_only for field in fields)

    def make(values: list[Any]) -> Any:
        try:
            return kind(**dict(zip(names, values, strict=True))) if by_name else kind(*values)
        except (errors.UnisonoError, TypeError, ValueError) as error:
            raise ProtocolError(f"a {kind.__name__} that is out of range") from error

    return _fields(kind.__name__, [_reader(types[name]) for name in names], make)


def _check(is_right: bool, what: object) -> None:
    if not is_right:
        raise ProtocolError(f"this is no {what}")


def _error_fields(error: errors.UnisonoError) -> list[Any]:
    kind = next(base.__name__ for base in type(error).__mro__ if base.__name__ in _ERROR_KINDS)
    extra = getattr(error, "param", None) or getattr(error, "retry_after_s", None)
    return [kind, error.message, error.hint, extra]


def _error(fields: list[Any]) -> errors.UnisonoError:
    match fields:
        case [str(name), str(message), str(hint), None | str() | int() as extra]:
            kind = _ERROR_KINDS.get(name)
            if kind is None:
                raise ProtocolError("an error of an unknown kind")
            if issubclass(kind, errors.InvalidRequestError):
                param = extra if isinstance(extra, str) else None
                return kind(message, param=param, hint=hint)
            if issubclass(kind, errors.QueueFullError):
                wait = extra if isinstance(extra, int) else 1
                return kind(message, retry_after_s=wait, hint=hint)
            return kind(message, hint=hint)
    raise ProtocolError("an error has four fields")
