"""The program that renders one chat template, in a process of its own under limits.

A template comes with a model and is not trusted; one expression of it may ask for any amount of
memory or time, and only the operating system can refuse that. Run as a script by
``template_process``; imports nothing but jinja2 and the standard library, and talks in frames of
JSON over stdin and stdout: first the limits and the template, then the variables of each rendering.
"""

from __future__ import annotations

import json
import signal
import struct
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import IO, Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

__all__ = ["make_environment", "read_frame", "write_frame"]

_MAX_MESSAGE_CHARS = 500


def read_frame(stream: IO[bytes]) -> Any:
    """The next JSON value, ``None`` at the end of the stream."""
    header = stream.read(4)
    if len(header) < 4:
        return None
    (size,) = struct.unpack(">I", header)
    content = stream.read(size)
    return json.loads(content) if len(content) == size else None


def write_frame(stream: IO[bytes], content: bytes) -> None:
    """Sends JSON text: its number of bytes (4 bytes, big-endian), then the bytes."""
    stream.write(struct.pack(">I", len(content)) + content)
    stream.flush()


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


def make_environment() -> ImmutableSandboxedEnvironment:
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
        return {"error": "memory"}
    except _Raised as error:
        return {"error": "raised", "message": str(error)[:_MAX_MESSAGE_CHARS]}
    except Exception as error:
        return {"error": "failed", "message": _describe(error)}
    return {"text": "".join(chunks)}


def _compile(source: str) -> jinja2.Template | dict[str, str]:
    try:
        return make_environment().from_string(source)
    except MemoryError:
        return {"error": "memory"}
    except TemplateSyntaxError as error:
        return {"error": "failed", "message": f"line {error.lineno}: {_describe(error)}"}
    except Exception as error:
        return {"error": "failed", "message": _describe(error)}


def _describe(error: Exception) -> str:
    text = error.message if isinstance(error, TemplateError) else str(error)
    return f"{type(error).__name__}: {text}"[:_MAX_MESSAGE_CHARS]


def _limit_memory(max_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # not on this system: the time limit of the parent remains
        return
    for kind, limit in (("RLIMIT_AS", max_bytes), ("RLIMIT_FSIZE", 0), ("RLIMIT_CORE", 0)):
        try:
            resource.setrlimit(getattr(resource, kind), (limit, limit))
        except (AttributeError, ValueError, OSError):
            continue


def _set_cpu_alarm(seconds: float) -> None:
    """Ends this process when it has used so much CPU time; 0 takes the alarm back."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    hello = read_frame(requests)
    _limit_memory(hello["max_memory_bytes"])
    _set_cpu_alarm(hello["max_cpu_s"])
    template = _compile(hello["template"])
    _set_cpu_alarm(0)
    if isinstance(template, dict):
        write_frame(replies, json.dumps(template).encode())
        return
    write_frame(replies, b'{"compiled": true}')
    while (variables := read_frame(requests)) is not None:
        _set_cpu_alarm(hello["max_cpu_s"])
        reply = json.dumps(_render(template, variables, hello["max_output_chars"]))
        _set_cpu_alarm(0)
        write_frame(replies, reply.encode())


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
