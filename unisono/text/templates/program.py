"""The program that renders one chat template, in a process of its own under limits.

A template comes with a model and is not trusted; one expression of it may ask for any amount of
memory or time. Loaded by ``limited.worker``; imports nothing but jinja2 and the standard library.
Requests are the variables of a rendering, replies its text or what went wrong, as JSON objects.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

_MAX_MESSAGE_CHARS = 500


def start(hello: Mapping[str, Any]) -> tuple[bytes, Callable[[bytes], bytes] | None]:
    """Compiles ``template``; no rendering gives more than ``max_output_chars``."""
    template = _compile(hello["template"])
    if isinstance(template, dict):
        return json.dumps(template).encode(), None
    max_chars = hello["max_output_chars"]

    def render(request: bytes) -> bytes:
        reply = _render(template, json.loads(request), max_chars)
        return json.dumps(reply, ensure_ascii=False).encode("utf-8", "surrogatepass")

    return b"{}", render


class _Raised(TemplateError):
    """The template refuses the messages, in its own words."""


class _GenerationTag(Extension):
    """``{% generation %}`` marks the model's own words for training; here it changes nothing."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_body_of", [])
        return nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _body_of(self, caller: Any) -> Any:
        return caller()


class _Namespace(Namespace):
    """A namespace without names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, *rest = args
        attributes = dict(*rest, **kwargs)
        for name in attributes:
            _check_name(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


class _Dict:
    """``dict`` as a function, without the class and its attributes."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace holds no attribute {name!r}")


def _raise_exception(message: Any) -> None:
    raise _Raised(str(message))


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: Any = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def _make_environment() -> ImmutableSandboxedEnvironment:
    """The sandbox, with the functions that chat templates of the field expect."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals.update(
        raise_exception=_raise_exception,
        strftime_now=_strftime_now,
        dict=_Dict(),
        namespace=_Namespace,
    )
    return environment


def _render(
    template: jinja2.Template, variables: Mapping[str, Any], max_output_chars: int
) -> dict[str, str]:
    chunks, num_chars = [], 0
    try:
        for chunk in template.generate(variables):
            num_chars += len(chunk)
            if num_chars > max_output_chars:
                return {"error": "output"}
            chunks.append(chunk)
    except MemoryError:
        raise
    except _Raised as error:
        return {"error": "raised", "message": str(error)[:_MAX_MESSAGE_CHARS]}
    except Exception as error:
        return {"error": "failed", "message": _describe(error)}
    return {"text": "".join(chunks)}


def _compile(source: str) -> jinja2.Template | dict[str, str]:
    try:
        return _make_environment().from_string(source)
    except MemoryError:
        raise
    except TemplateSyntaxError as error:
        return {"error": "failed", "message": f"line {error.lineno}: {_describe(error)}"}
    except Exception as error:
        return {"error": "failed", "message": _describe(error)}


def _describe(error: Exception) -> str:
    text = error.message if isinstance(error, TemplateError) else str(error)
    return f"{type(error).__name__}: {text}"[:_MAX_MESSAGE_CHARS]
