"""The server does as ``/openapi.json`` says, whatever is sent to it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from server_process import KEY, RunningServer

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,response_headers_conformance"
)


def test_generated_requests(own_server: Callable[..., RunningServer]) -> None:
    server = own_server(engine={"max_model_len": 48}, limits={"n": 4, "answers": 8})
    program = Path(sys.executable).with_name("schemathesis")
    run = subprocess.run(
        [
            *(str(program), "run", f"{server.base_url}/openapi.json"),
            *("-H", f"Authorization: Bearer {KEY}"),
            *("--checks", CHECKS, "--phases", "coverage,fuzzing"),
            *("--max-examples", "12", "--max-time", "20", "--generation-deterministic"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    with server.client() as client:
        assert client.get("/health").json() == {"status": "ok"}
        assert "unisono_engine_restarts_total 0.0" in client.get("/metrics").text
