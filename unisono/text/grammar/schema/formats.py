"""Patterns of the formats that JSON Schema defines. A number of digits that the definition leaves
open is bounded, so that no text of a format goes on for ever."""

from __future__ import annotations

from typing import Any

_YEAR = "[0-9]{4}"
_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DAYS = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    f"|{_LEAP_YEAR}-02-29)"
)
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
_ZONE = "(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_N = "[0-9]{1,9}"
_TIME_SPAN = f"T(?:{_N}H(?:{_N}M(?:{_N}S)?)?|{_N}M(?:{_N}S)?|{_N}S)"
_DAY_SPAN = f"(?:{_N}Y(?:{_N}M(?:{_N}D)?)?|{_N}M(?:{_N}D)?|{_N}D)"
_HEX = "[0-9A-Fa-f]"
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64}"
_POINTER = "(?:/(?:[^/~]|~[01])*)*"

FORMATS: dict[str, dict[str, Any]] = {
    "date": {"pattern": f"^{_DAYS}$"},
    "time": {"pattern": f"^{_CLOCK}{_ZONE}$"},
    "date-time": {"pattern": f"^{_DAYS}[Tt]{_CLOCK}{_ZONE}$"},
    "duration": {"pattern": f"^P(?:{_DAY_SPAN}(?:{_TIME_SPAN})?|{_TIME_SPAN}|{_N}W)$"},
    "uuid": {"pattern": f"^{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}$"},
    "ipv4": {"pattern": rf"^{_OCTET}(?:\.{_OCTET}){{3}}$"},
    "hostname": {"pattern": f"^{_HOST}$", "maxLength": 253},
    "email": {"pattern": rf"^{_ATOM}(?:\.{_ATOM})*@{_HOST}$", "maxLength": 254},
    "json-pointer": {"pattern": f"^{_POINTER}$"},
    "relative-json-pointer": {"pattern": f"^(?:0|[1-9][0-9]{{0,9}})(?:#|{_POINTER})$"},
}
"""Keywords that a string of a format satisfies."""
BUILT_IN = frozenset({"ipv6", "uri"})
"""Formats whose pattern llguidance has."""
REFUSED = frozenset(
    {"regex", "uri-reference", "uri-template", "iri", "iri-reference", "idn-email", "idn-hostname"}
)
"""Formats for which there is no pattern here. Any other name is none of JSON Schema's: it says
nothing."""
