"""Servers that clients are tried on, in processes of their own, and the model that one serves.

``scripted`` is a model that obeys (``scripted/policy.py``) behind the real API process; ``demo`` is
the real engine with the built-in model, whose chat template knows tools and thinking.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("UNISONO_PYTHON", sys.executable)
"""The Python that has unisono; tests may run in one that has the clients alone."""
KEY = "key-of-the-clients"
DEMO_TEMPLATE = """\
{%- if tools %}<|im_start|>system
You may call tools. They are:
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}
Write calls between <tool_call> and </tool_call>.<|im_end|>
{% endif %}
{%- for document in documents or [] %}<|im_start|>system
{{ document.title }}: {{ document.text }}<|im_end|>
{% endfor %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>
{% endif %}{{ message.content or '' }}
{%- for call in message.tool_calls or [] %}
<tool_call>
{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}
</tool_call>
{%- endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is true %}<think>
{% endif %}{% endif %}"""


@dataclass(frozen=True)
class Served:
    process: subprocess.Popen[bytes]
    url: str
    model: str

    @property
    def v1(self) -> str:
        """The address that OpenAI's clients are given."""
        return f"{self.url}/v1"

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def serve_scripted(folder: Path) -> Served:
    program = ROOT / "tests" / "clients" / "scripted" / "server.py"
    return _serve([PYTHON, str(program), str(folder)], folder / "log", "scripted")


def serve_demo(folder: Path, *options: str) -> Served:
    write_demo(folder)
    command = [PYTHON, "-m", "unisono", "serve", str(folder), "--served-model-name", "demo"]
    command += ["--port", "0", "--api-key", KEY, *options]
    return _serve(command, folder / "log", "demo")


def write_demo(folder: Path) -> None:
    """The built-in checkpoint with another chat template."""
    built_in = ROOT / "unisono" / "demo"
    for path in built_in.iterdir():
        if path.name != "tokenizer_config.json":
            (folder / path.name).symlink_to(path)
    config = json.loads((built_in / "tokenizer_config.json").read_text("utf-8"))
    config["chat_template"] = DEMO_TEMPLATE
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")


def _serve(command: list[str], log: Path, model: str) -> Served:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": _own_path()}
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, env=environment, cwd=ROOT
        )
    assert process.stdout is not None
    line = process.stdout.readline().decode()
    found = re.search(r"on (http://\S+)", line)
    if not found:
        process.kill()
        raise AssertionError(f"the server said {line!r}\n{log.read_text()}")
    return Served(process, found[1], model)


def _own_path() -> str:
    given = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(ROOT), *([given] if given else [])])
