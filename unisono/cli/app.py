"""The program ``unisono``: its verbs, and what it says without one."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from unisono import __version__
from unisono.cli.bench import bench
from unisono.cli.chat import chat
from unisono.cli.check import check
from unisono.cli.devices import devices
from unisono.cli.doctor import doctor
from unisono.cli.embed import embed
from unisono.cli.errors import clear_errors
from unisono.cli.quantize import quantize
from unisono.cli.run import run
from unisono.cli.serve import serve
from unisono.cli.specs import specs


class _Program(TyperGroup):
    """Tells what is wrong with a command line as what goes wrong in a verb is told."""

    def main(self, args: Sequence[str] | None = None, **options: Any) -> NoReturn:  # type: ignore[override]
        try:
            with clear_errors():
                status = super().main(args, **{**options, "standalone_mode": False})
        except typer.Exit as end:
            status = end.exit_code
        sys.exit(status)


app = typer.Typer(
    name="unisono",
    cls=_Program,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
)
for _verb in (run, chat, serve, embed, bench, quantize, devices, check, doctor, specs):
    app.command()(clear_errors()(_verb))


def _show_version(wanted: bool) -> None:
    if not wanted:
        return
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = "missing"
    typer.echo(f"unisono {__version__} (torch {torch}, Python {platform.python_version()})")
    raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show versions and exit."
        ),
    ] = False,
) -> None:
    """Run, serve and measure open language models: one engine, every accelerator.

    \b
    Start here, nothing is downloaded:
      unisono run                        the built-in demo model reads an example
      unisono devices                    which hardware is here
    Then, with a model from a hub or a folder:
      unisono run Qwen/Qwen3-0.6B "Why is the sky blue?"
      unisono chat Qwen/Qwen3-0.6B
      unisono serve Qwen/Qwen3-0.6B      an OpenAI-compatible server on port 8000
    Tab completes verbs, options, devices, models and chips after:
      unisono --install-completion       for bash, zsh or fish
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)
