"""A server that cannot start says so in one typed error, wherever it happened."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from server_process import PROGRAM

from tests.waiting import PATIENCE_S, until
from unisono.core import EngineConfig
from unisono.core.errors import (
    CheckpointError,
    ConfigError,
    DeviceNotFoundError,
    InsufficientMemoryError,
    ModelError,
    UnsupportedModelError,
)
from unisono.server import ServerSettings, serve


def settings(folder: Path, **options: Any) -> ServerSettings:
    engine = EngineConfig(**{"kv_memory": 1 << 24, **options.pop("engine", {})})
    return ServerSettings(model_folder=folder, model_name="m", port=0, engine=engine, **options)


def truncated(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:2000])


def unknown_family(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["NobodyForCausalLM"], "model_type": "nobody"}
    (folder / "config.json").write_text(json.dumps(config))


def without_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    ("damage", "options", "error", "says"),
    [
        (truncated, {}, CheckpointError, "model.safetensors"),
        (unknown_family, {}, UnsupportedModelError, "docs/models.md"),
        (without_tokenizer, {}, CheckpointError, "tokenizer.json"),
        (None, {"engine": {"device": "nope"}}, DeviceNotFoundError, "cpu"),
        (None, {"engine": {"kv_memory": 1024}}, InsufficientMemoryError, "--kv-memory"),
        (None, {"engine": {"max_model_len": 10**6}}, ConfigError, "512"),
    ],
)
def test_why_it_does_not_start(
    model_folder: Path,
    tmp_path: Path,
    damage: Callable[[Path], None] | None,
    options: dict[str, Any],
    error: type[Exception],
    says: str,
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    if damage is not None:
        damage(folder)
    with pytest.raises(error, match=says):
        serve(settings(folder, **options))


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        serve(settings(tmp_path / "missing"))


def test_an_address_in_use(model_folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match="Cannot listen"):
            serve(ServerSettings(model_folder=model_folder, model_name="m", port=port))


@pytest.mark.parametrize(("sig", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, -signal.SIGINT)])
def test_a_stop_while_the_model_loads(model_folder: Path, sig: int, status: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(model_folder), "{}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until(children.read_text)
    process.send_signal(sig)
    assert process.wait(PATIENCE_S) == status
    assert process.stdout.read() == b""


def test_the_api_process_imports_no_torch() -> None:
    code = (
        "import sys, unisono.server.run, unisono.server.engine.supervisor;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_engine_process_imports_no_http() -> None:
    code = (
        "import sys, unisono.server.engine.worker;"
        "sys.exit(any(name in sys.modules for name in ('fastapi', 'uvicorn', 'pydantic')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
