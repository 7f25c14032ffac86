"""Finds the chat templates of a model folder. Knows nothing of what they say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unisono.core.errors import CheckpointError
from unisono.core.folder_files import read_json_object, read_text

MAX_TEMPLATE_BYTES = 256 << 10


def read_chat_templates(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Templates by name, mostly one of name ``default``; empty where the model has none.

    ``chat_template.jinja`` comes before the config's ``chat_template``, that before the
    ``chat_template.json`` of older multimodal models.

    Raises:
        CheckpointError: a template is unreadable, too large, or not text.
    """
    templates = (
        _separate_files(folder)
        or _config_entry(config.get("chat_template"), "tokenizer_config.json")
        or _legacy_file(folder)
    )
    check_size(templates)
    return templates


def check_size(templates: Mapping[str, str]) -> None:
    """Raises CheckpointError: a template is too large."""
    for name, template in templates.items():
        if len(template.encode("utf-8", "surrogatepass")) > MAX_TEMPLATE_BYTES:
            raise CheckpointError(
                f"the chat template {name!r} is larger than {MAX_TEMPLATE_BYTES} bytes.",
                hint="Remove it from the folder to serve plain completion.",
            )


def _separate_files(folder: Path) -> dict[str, str]:
    templates = {}
    default = read_text(folder / "chat_template.jinja", MAX_TEMPLATE_BYTES)
    if default is not None:
        templates["default"] = default
    for path in sorted((folder / "additional_chat_templates").glob("*.jinja")):
        text = read_text(path, MAX_TEMPLATE_BYTES)
        if text is not None:
            templates[path.stem] = text
    return templates


def _legacy_file(folder: Path) -> dict[str, str]:
    content = read_json_object(folder / "chat_template.json", 2 * MAX_TEMPLATE_BYTES)
    return _config_entry(content.get("chat_template"), "chat_template.json")


def _config_entry(entry: Any, file_name: str) -> dict[str, str]:
    if entry is None:
        return {}
    if isinstance(entry, str):
        return {"default": entry}
    try:
        templates = {item["name"]: item["template"] for item in entry}
    except (TypeError, KeyError) as error:
        raise _not_text(file_name) from error
    if not all(isinstance(text, str) for pair in templates.items() for text in pair):
        raise _not_text(file_name)
    return templates


def _not_text(file_name: str) -> CheckpointError:
    return CheckpointError(
        f"chat_template in {file_name} is neither a text nor a list of named texts.",
        hint="Fetch the model again.",
    )
