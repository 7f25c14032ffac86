"""Tools, schemas and questions that the tests of several clients share."""

from __future__ import annotations

from typing import Any

PLACE: dict[str, Any] = {
    "type": "object",
    "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["place", "days"],
    "additionalProperties": False,
}
FORECAST: dict[str, Any] = {
    "name": "forecast",
    "description": "The weather of the next days.",
    "parameters": PLACE,
}
TOOL: dict[str, Any] = {"type": "function", "function": FORECAST}
ASKED = "Use forecast for 3 days in Oslo."
ARGUMENTS = {"place": "Oslo", "days": 3}
RESULT = "It will snow."
REPORT = "The result is It will snow.."
THOUGHT = "Repeat: <think>Hm.</think>Yes."
VERDICT: dict[str, Any] = {
    "type": "object",
    "properties": {"urgent": {"type": "boolean"}, "label": {"enum": ["parcel", "noise"]}},
    "required": ["urgent", "label"],
    "additionalProperties": False,
}
"""A schema whose every instance is short."""
