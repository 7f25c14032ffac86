"""``unisono serve``: options in, ``ServerSettings`` out, and the server takes over."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from unisono.cli.adapter_options import named_adapters, with_room
from unisono.cli.option_groups import OptionGroup, takes
from unisono.cli.options import (
    SERVED_ENGINE,
    GenerationConfigOption,
    ModelArgument,
    RevisionOption,
    option,
)
from unisono.core.config import EngineConfig
from unisono.server.settings import ServerSettings, read_keys

_DEMO_NAME = "unisono-demo"
_SERVER_OPTIONS: dict[str, Any] = {
    "host": option(str, "Address to listen on. Other than loopback needs an API key."),
    "port": option(int, "0 takes a free one."),
    "watchdog_s": option(
        float,
        "Seconds after which an engine that has work and shows no life is restarted.",
        "--watchdog",
    ),
    "keep_alive_s": option(
        float,
        "Seconds that a connection without a request stays open; longer than proxies and pools"
        " keep theirs, so that it is they who close it.",
        "--keep-alive",
    ),
    "cors_origins": option(
        list[str],
        "Let web pages of this origin use the server, such as https://chat.example.org; may be"
        " repeated; * lets all. Pages of this machine may without it.",
        "--cors-origin",
    ),
    "allowed_hosts": option(
        list[str],
        "A name that a server without a key is reached by, beside its address; may be repeated;"
        " * lets all.",
        "--allowed-host",
    ),
    "adapters_dir": option(
        Path | None,
        "Let POST /v1/load_lora_adapter load adapters from folders in this one, and"
        " /v1/unload_lora_adapter remove them.",
    ),
    "tool_format": option(
        str,
        "How the model writes tool calls, such as hermes or mistral; auto finds it from the chat"
        " template.",
    ),
    "store": option(
        Path,
        "A file that keeps responses of /v1/responses, made if it is not there; without it they are"
        " kept in memory, until the server ends.",
        "--store",
    ),
    "batch_dir": option(
        Path,
        "A folder, made if it is not there, for /v1/files and /v1/batches; without it there are"
        " none.",
        "--batch-dir",
    ),
    "strict": option(
        bool, "Refuse requests with unknown fields, instead of ignoring these.", "--strict"
    ),
    "insecure": option(bool, "Listen beyond loopback without a key.", "--insecure"),
}
"""By the field of ``ServerSettings``."""


def _fields_of(**options: Any) -> dict[str, Any]:
    """The options as ``ServerSettings`` takes them: what may be repeated as a tuple."""
    return {n: tuple(value) if isinstance(value, list) else value for n, value in options.items()}


SETTINGS = OptionGroup(
    _SERVER_OPTIONS, {each.name: each.default for each in fields(ServerSettings)}, _fields_of
)


@takes(settings=SETTINGS, engine=SERVED_ENGINE)
def serve(
    model: ModelArgument = None,
    *,
    settings: dict[str, Any],
    engine: EngineConfig,
    revision: RevisionOption = None,
    generation_config: GenerationConfigOption = "auto",
    served_model_name: Annotated[
        list[str] | None,
        typer.Option(
            help="What clients call the model; repeat it for more names. By default its id."
        ),
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FOLDER",
            help="Serve an adapter (LoRA), in a folder as PEFT saves it, under a name that clients"
            " give as model; may be repeated.",
        ),
    ] = None,
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            help="A key that is let in; may be repeated. Other users of the machine can see"
            " options: prefer --api-key-file or UNISONO_API_KEY."
        ),
    ] = None,
    api_key_file: Annotated[Path | None, typer.Option(help="A file with one key a line.")] = None,
) -> None:
    """Serve a model over HTTP with OpenAI's routes: chat, completions, streaming, metrics.

    \b
    Examples:
      unisono serve
      unisono serve Qwen/Qwen3-0.6B --kv-memory 8GiB
      unisono serve ./my-model --adapter sql=./sql-lora --adapter chat=./chat-lora
      unisono serve ./my-model --host 0.0.0.0 --api-key-file keys.txt
    \b
    Then:
      curl http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' \\
        -d '{"model": "unisono-demo", "messages": [{"role": "user", "content": "Hello"}]}'
    """
    from unisono.hub.generation_config import read_sampling_defaults
    from unisono.hub.model_role import read_role
    from unisono.hub.resolving import resolve_model
    from unisono.server.run import serve as serve_forever

    names = served_model_name or [default_model_name(model)]
    adapters = named_adapters(adapter)
    engine = with_room(engine, len(adapters), more_may_come=settings["adapters_dir"] is not None)
    folder = resolve_model(model, revision=revision)
    role = read_role(folder, engine.task)
    serve_forever(
        ServerSettings(
            model_folder=folder,
            model_name=names[0],
            model_aliases=tuple(names[1:]),
            model_root=default_model_name(model),
            engine=engine.but(task=role.task),
            role=role,
            adapters=adapters,
            api_keys=read_keys(tuple(api_key or ()), api_key_file),
            sampling_defaults=read_sampling_defaults(folder, generation_config),
            **settings,
        )
    )


def default_model_name(model: str | None) -> str:
    """The model's name for clients where none was given: its id, or its folder's or file's name."""
    if model is None:
        return _DEMO_NAME
    if model.startswith("modelscope:"):
        return model.removeprefix("modelscope:")
    folder = Path(model).expanduser()
    if folder.suffix == ".gguf":
        return folder.stem
    return folder.resolve().name if folder.is_dir() else model
