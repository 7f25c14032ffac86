"""A program in limited processes: who was killed or stopped is replaced, and long requests have a
process of their own, so that short ones need not wait for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from unisono.core.errors import HelperFailedError
from unisono.text.limited.process import LimitedProcess, Limits, ProcessLostError

_LONG_BYTES = 32 << 10
T = TypeVar("T")


class LimitedProgram:
    """Args:
    name: what the program is to a user, such as ``chat template``.
    imports: packages that the program needs.
    others: as of :class:`LimitedProcess`.
    """

    def __init__(
        self,
        name: str,
        program: Path,
        hello: Mapping[str, Any],
        *,
        limits: Limits,
        imports: Sequence[str],
        check: Callable[[bytes], None] = lambda greeting: None,
    ) -> None:
        self._name = name
        self._short, self._long = (
            LimitedProcess(
                program, hello, limits=limits, search_path=package_folders(imports), check=check
            )
            for _ in range(2)
        )

    def start(self) -> None:
        """Starts the process for short requests, unless that is done.

        Raises:
            LimitBrokenError: the program broke a limit before it was ready.
            HelperFailedError: its process was killed or stopped, twice.
        """
        self._twice(self._short.start)

    def ask(self, request: bytes) -> bytes:
        """The reply to a request.

        Raises:
            LimitBrokenError: the program broke a limit.
            HelperFailedError: its process was killed or stopped, twice.
        """
        process = self._short if len(request) <= _LONG_BYTES else self._long
        return self._twice(lambda: process.ask(request))

    def _twice(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except ProcessLostError:
            pass
        try:
            return work()
        except ProcessLostError as error:
            raise HelperFailedError(
                f"The process that runs the model's {self._name} was killed or does not answer.",
                hint="Try again in a few seconds; if it stays so, see whether memory is short.",
            ) from error


def package_folders(names: Sequence[str]) -> list[str]:
    """Folders in which the packages ``names`` are installed."""
    specs = (find_spec(name) for name in names)
    return [str(Path(spec.origin).parents[1]) for spec in specs if spec and spec.origin]
