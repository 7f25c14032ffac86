"""Options that together make one value, such as an ``EngineConfig``, and the verbs that take it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

Verb = Callable[..., None]


@dataclass(frozen=True)
class OptionGroup:
    """Args:
    types: the type of each option with what typer is to know of it, in order of the help.
    defaults: what each is where it is not given.
    make: makes the value from the options, by name.
    """

    types: Mapping[str, Any]
    defaults: Mapping[str, Any]
    make: Callable[..., Any]

    def take(self, options: dict[str, Any]) -> Any:
        """Takes its own out of ``options``, and makes the value."""
        return self.make(**{name: options.pop(name, self.defaults[name]) for name in self.types})

    def parameters(self) -> list[inspect.Parameter]:
        kind = inspect.Parameter.KEYWORD_ONLY
        return [
            inspect.Parameter(name, kind, default=self.defaults[name], annotation=self.types[name])
            for name in self.types
        ]


def takes(**groups: OptionGroup) -> Callable[[Verb], Verb]:
    """Lets a verb have, in place of parameters of these names, the options of a group each; it is
    called with the values made."""

    def decorate(verb: Verb) -> Verb:
        @functools.wraps(verb)
        def call(**options: Any) -> None:
            values = {name: group.take(options) for name, group in groups.items()}
            verb(**options, **values)

        parameters = _expanded(verb, groups)
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {each.name: each.annotation for each in parameters}
        return call

    return decorate


def _expanded(verb: Verb, groups: Mapping[str, OptionGroup]) -> list[inspect.Parameter]:
    hints = get_type_hints(verb, include_extras=True)
    expanded: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(verb).parameters.items():
        if name in groups:
            expanded += groups[name].parameters()
        else:
            expanded.append(parameter.replace(annotation=hints[name]))
    return expanded
