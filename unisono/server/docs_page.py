"""A page for people about what the server takes: ``/openapi.json`` as HTML.

It runs no script and loads nothing, and its policy tells the browser so. Knows OpenAPI documents
and HTML; nothing of routes.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

Json = Mapping[str, Any]
_STYLE = """
body { font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }
summary { cursor: pointer; padding: .3em 0 } code { font-size: 1em }
table { border-collapse: collapse; margin: .5em 0 1.5em } td { padding: .1em 1em .1em 0 }
td { vertical-align: top } .method { display: inline-block; width: 5em }
"""
_HASH = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_MOST_ALTERNATIVES = 4


def docs_page(document: Json) -> str:
    """The page about an OpenAPI document."""
    title = escape(f"{document['info']['title']} {document['info']['version']}")
    routes = "".join(
        _route(document, path, method, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>"
        '<p>Routes and the fields of their bodies. The same for programs: <a href="openapi.json">'
        f"openapi.json</a>.</p>{routes}</body></html>"
    )


def _route(document: Json, path: str, method: str, operation: Json) -> str:
    says = escape(operation.get("description") or operation.get("summary") or "")
    name = f'<code><span class="method">{escape(method.upper())}</span>{escape(path)}</code>'
    fields = "".join(_field(*each) for each in _fields(document, operation))
    return f"<details><summary>{name} {says}</summary><table>{fields}</table></details>"


def _fields(document: Json, operation: Json) -> Iterator[tuple[str, str, bool]]:
    """Name and kind of each parameter and of each field of the body, and whether it must be."""
    for each in operation.get("parameters", ()):
        yield each["name"], _kind(each.get("schema", {})), bool(each.get("required"))
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = _resolved(document, content.get("schema", {}))
        required = schema.get("required", ())
        for name, field in schema.get("properties", {}).items():
            yield name, _kind(field), name in required


def _field(name: str, kind: str, is_required: bool) -> str:
    needed = "required" if is_required else ""
    return f"<tr><td><code>{escape(name)}</code></td><td>{escape(kind)}</td><td>{needed}</td></tr>"


def _resolved(document: Json, schema: Json) -> Json:
    name = schema.get("$ref", "").rpartition("/")[2]
    return document["components"]["schemas"][name] if name else schema


def _kind(schema: Json) -> str:
    """A field's kind in a few words."""
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    if "enum" in schema:
        return " or ".join(map(repr, schema["enum"]))
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if alternatives:
        kinds = dict.fromkeys(map(_kind, alternatives))
        kinds.pop("null", None)
        return " or ".join([*kinds][:_MOST_ALTERNATIVES])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return str(schema.get("type", "any"))
