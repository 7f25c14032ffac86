"""The base of all request bodies: how absence, unknown fields and numbers are read.

Knows pydantic; no field and no route.
"""

from __future__ import annotations

import logging
import threading
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError, ValidationError

UNKNOWN_FIELD = "unknown_field"
_MAX_NAMES = 256
_MAX_LENGTH = 64
_log = logging.getLogger("unisono.server")


class UnknownFields:
    """Fields that nobody knows: refused by a strict server, else ignored and said once in the log;
    so many at most, so that no client can fill it."""

    def __init__(self, *, strict: bool = False) -> None:
        self._strict = strict
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def report(self, place: str, names: set[str]) -> None:
        """Refuses them, or logs those that are new. ``place``: where in a body, such as
        ``messages[].``."""
        if self._strict:
            raise PydanticCustomError(UNKNOWN_FIELD, "is not known here", {"name": min(names)})
        with self._lock:
            fresh = sorted({_printable(place + name) for name in names} - self._seen)
            fresh = fresh[: _MAX_NAMES - len(self._seen)]
            self._seen.update(fresh)
        if fresh:
            _log.warning(
                "Ignored fields of requests that are not known here: %s. Each is named once; "
                "--strict refuses them.",
                ", ".join(fresh),
            )


def _printable(name: str) -> str:
    text = name.encode("ascii", "backslashreplace").decode("ascii")
    return "".join(c if c.isprintable() else "?" for c in text)[:_MAX_LENGTH]


class Body(BaseModel):
    """An object of a body. ``null`` is the same as leaving a field out; there are no conversions
    (``"1"`` is no number) but that of ``4.0`` to an integer.

    The context of a validation is the server's ``UnknownFields``.
    """

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, protected_namespaces=())

    place: ClassVar[str] = ""
    """Path to such an object in a body, for error messages: ``messages[].``."""
    without_effect: ClassVar[frozenset[str]] = frozenset()
    """Fields that are known to change nothing."""

    @model_validator(mode="before")
    @classmethod
    def _without_null(cls, given: Any, info: ValidationInfo) -> Any:
        if not isinstance(given, dict):
            return given
        said = {name: value for name, value in given.items() if value is not None}
        if cls.model_config.get("extra") != "allow":
            unknown = said.keys() - cls.model_fields.keys() - cls.without_effect
            if unknown and isinstance(info.context, UnknownFields):
                info.context.report(cls.place, unknown)
        return said


def _whole(value: Any) -> Any:
    return int(value) if type(value) is float and value.is_integer() else value


def _whole_list(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """Looks at single items only where the list is not as it should be: it may have millions."""
    try:
        return handler(value)
    except ValidationError:
        if not isinstance(value, list) or float not in set(map(type, value)):
            raise
    return handler([_whole(item) for item in value])


WholeNumber = Annotated[int, BeforeValidator(_whole)]
WholeNumbers = WrapValidator(_whole_list)
