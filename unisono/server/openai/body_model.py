"""The base of all request bodies: how absence, unknown fields and numbers are read.

Knows pydantic; no field and no route.
"""

from __future__ import annotations

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

from unisono.server.openai.unknown_fields import UnknownFields

__all__ = ["UNKNOWN_FIELD", "Body", "WholeNumber", "WholeNumbers"]

UNKNOWN_FIELD = "unknown_field"


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
    names: ClassVar[frozenset[str]] = frozenset()
    """The fields there are."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        cls.names = frozenset(cls.model_fields)

    @model_validator(mode="before")
    @classmethod
    def _without_null(cls, given: Any, info: ValidationInfo) -> Any:
        if not isinstance(given, dict):
            return given
        said = {name: value for name, value in given.items() if value is not None}
        if cls.model_config.get("extra") != "allow":
            unknown = said.keys() - cls.names - cls.without_effect
            if unknown and isinstance(info.context, UnknownFields):
                _report(info.context, cls.place, unknown)
        return said


def _report(unknown_fields: UnknownFields, place: str, names: set[str]) -> None:
    if unknown_fields.strict:
        raise PydanticCustomError(UNKNOWN_FIELD, "is not known here", {"name": min(names)})
    unknown_fields.note(place, names)


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
