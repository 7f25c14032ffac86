"""Bodies of the routes that load and remove adapters."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from unisono.server.openai.body_model import Body

_Text = Annotated[str, Field(min_length=1, max_length=4096)]


class LoadAdapterRequest(Body):
    """Body of ``POST /v1/load_lora_adapter``."""

    lora_name: _Text
    lora_path: _Text
    """Folder of the adapter, in the one that the server was given."""


class UnloadAdapterRequest(Body):
    """Body of ``POST /v1/unload_lora_adapter``."""

    lora_name: _Text
