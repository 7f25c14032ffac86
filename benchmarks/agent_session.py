"""A session of an agent, turn by turn, over each protocol; and how much of it the prefix cache had.

    python benchmarks/agent_session.py                # 50 turns of each protocol
    python benchmarks/agent_session.py --turns 10 --json

The built-in model, with a template that writes tools and a longer context, is asked to call a
tool, given its result, and asked for an answer, so a turn is two requests. A request repeats all
that came before it; ``shareable`` is that part, ``hits`` what the prefix cache had, by the server's
metrics.
Exits with 1 where a request fails or a call is not there.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import httpx
from demo_server import demo_server

TEMPLATE = (
    "{% for t in tools or [] %}{{ t | tojson }}\n{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}<tool_call>\n"
    '{"name": {{ c.function.name | tojson }}, "arguments": {{ c.function.arguments | tojson }}}'
    "\n</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
RULES = "You work on a repository. " + "Read before you write, and say what you changed. " * 8
PARAMETERS = {
    "type": "object",
    "properties": {
        "path": {"type": "string", "minLength": 1, "maxLength": 12},
        "lines": {"enum": [10, 100]},
    },
    "required": ["path", "lines"],
    "additionalProperties": False,
}
NAME, ABOUT = "read_file", "Gives lines of a file."
FUNCTION = {"name": NAME, "description": ABOUT, "parameters": PARAMETERS}
MOST_TOKENS = {"call": 120, "answer": 24}


def question(turn: int) -> str:
    return f"Step {turn}: look at module {turn * 7 % 23} and tell me what its tests expect."


def result(turn: int) -> str:
    return "\n".join(f"{line}: value = compute({turn}, {line})" for line in range(turn % 4 + 2))


class Protocol(ABC):
    """One client's side of a session, which keeps what was said as its protocol does."""

    name: ClassVar[str]

    @property
    def system(self) -> str:
        """Another text for each protocol, so that none finds what another has left."""
        return f"{self.name.capitalize()}: {RULES}"

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._client.post(path, json={"model": "demo", "temperature": 0.0, **body})
        if answer.status_code != 200:
            raise SystemExit(f"{self.name}: {path} answered {answer.status_code}: {answer.text}")
        return answer.json()  # type: ignore[no-any-return]

    @abstractmethod
    def call(self, text: str) -> Any:
        """The arguments of the call that the model answers with."""

    @abstractmethod
    def answer(self, text: str) -> None:
        """Gives the call's result and takes the model's answer."""


class Chat(Protocol):
    name = "chat completions"

    def __init__(self, client: httpx.Client) -> None:
        super().__init__(client)
        self._said: list[dict[str, Any]] = [{"role": "system", "content": self.system}]

    def _ask(self, said: dict[str, Any], choice: Any, most: int) -> dict[str, Any]:
        self._said.append(said)
        tools = [{"type": "function", "function": FUNCTION}]
        body = {
            "messages": self._said,
            "tools": tools,
            "tool_choice": choice,
            "parallel_tool_calls": False,
            "max_tokens": most,
        }
        message = self._post("/v1/chat/completions", body)["choices"][0]["message"]
        self._said.append({key: value for key, value in message.items() if value is not None})
        return message  # type: ignore[no-any-return]

    def call(self, text: str) -> Any:
        choice = {"type": "function", "function": {"name": NAME}}
        message = self._ask({"role": "user", "content": text}, choice, MOST_TOKENS["call"])
        self._id = message["tool_calls"][0]["id"]
        return json.loads(message["tool_calls"][0]["function"]["arguments"])

    def answer(self, text: str) -> None:
        said = {"role": "tool", "tool_call_id": self._id, "content": text}
        self._ask(said, "auto", MOST_TOKENS["answer"])


class Responses(Protocol):
    name = "responses"
    _last: str | None = None

    def _ask(self, item: dict[str, Any], choice: Any, most: int) -> list[dict[str, Any]]:
        body = {
            "instructions": self.system,
            "input": [item],
            "tools": [{"type": "function", **FUNCTION}],
            "tool_choice": choice,
            "parallel_tool_calls": False,
            "max_output_tokens": most,
            "previous_response_id": self._last,
        }
        response = self._post("/v1/responses", body)
        self._last = response["id"]
        return response["output"]  # type: ignore[no-any-return]

    def call(self, text: str) -> Any:
        choice = {"type": "function", "name": NAME}
        output = self._ask({"role": "user", "content": text}, choice, MOST_TOKENS["call"])
        self._id = output[-1]["call_id"]
        return json.loads(output[-1]["arguments"])

    def answer(self, text: str) -> None:
        item = {"type": "function_call_output", "call_id": self._id, "output": text}
        self._ask(item, "auto", MOST_TOKENS["answer"])


class Messages(Protocol):
    name = "messages"

    def __init__(self, client: httpx.Client) -> None:
        super().__init__(client)
        self._said: list[dict[str, Any]] = []

    def _ask(self, content: Any, choice: dict[str, Any], most: int) -> list[dict[str, Any]]:
        self._said.append({"role": "user", "content": content})
        tools = [{"name": NAME, "description": ABOUT, "input_schema": PARAMETERS}]
        body = {
            "system": self.system,
            "messages": self._said,
            "tools": tools,
            "tool_choice": choice,
            "max_tokens": most,
        }
        blocks = self._post("/v1/messages", body)["content"]
        self._said.append({"role": "assistant", "content": blocks or "Nothing."})
        return blocks  # type: ignore[no-any-return]

    def call(self, text: str) -> Any:
        blocks = self._ask(
            text,
            {"type": "tool", "name": NAME, "disable_parallel_tool_use": True},
            MOST_TOKENS["call"],
        )
        self._id = blocks[-1]["id"]
        return blocks[-1]["input"]

    def answer(self, text: str) -> None:
        block = {"type": "tool_result", "tool_use_id": self._id, "content": text}
        self._ask([block], {"type": "auto"}, MOST_TOKENS["answer"])


class Ollama(Protocol):
    """Cannot name the tool to be called: the call is a recorded one."""

    name = "ollama"

    def __init__(self, client: httpx.Client) -> None:
        super().__init__(client)
        self._said: list[dict[str, Any]] = [{"role": "system", "content": self.system}]

    def _ask(self, said: dict[str, Any]) -> None:
        self._said.append(said)
        body = {
            "messages": self._said,
            "tools": [{"type": "function", "function": FUNCTION}],
            "stream": False,
            "options": {"num_predict": MOST_TOKENS["answer"]},
        }
        self._said.append(self._post("/api/chat", body)["message"])

    def call(self, text: str) -> Any:
        self._ask({"role": "user", "content": text})
        arguments = {"path": "a.py", "lines": 10}
        calls = [{"function": {"name": NAME, "arguments": arguments}}]
        self._said[-1] = {"role": "assistant", "content": "", "tool_calls": calls}
        return arguments

    def answer(self, text: str) -> None:
        self._ask({"role": "tool", "tool_name": NAME, "content": text})


PROTOCOLS: tuple[type[Protocol], ...] = (Chat, Responses, Messages, Ollama)


@dataclass
class Session:
    """Tokens of all prompts of a session."""

    protocol: str
    turns: int
    prompt: int = 0
    shareable: int = 0
    hits: int = 0

    @property
    def share(self) -> float:
        return self.hits / self.shareable


def metrics(client: httpx.Client) -> tuple[int, int]:
    """Tokens of prompts, and those that the prefix cache had."""
    text = client.get("/metrics").text
    names = ("unisono_prefix_queried_tokens_total", "unisono_prefix_hit_tokens_total")
    prompt, hits = (re.findall(rf"^{name} (\S+)$", text, re.M) for name in names)
    return int(float(prompt[0])), int(float(hits[0]))


def replay(protocol: type[Protocol], client: httpx.Client, turns: int) -> Session:
    session, agent = Session(protocol.name, turns), protocol(client)
    before = 0
    for turn in range(turns):
        for step in ("call", "answer"):
            asked, had = metrics(client)
            if step == "call":
                arguments = agent.call(question(turn))
                if set(arguments) != set(PARAMETERS["properties"]):  # type: ignore[call-overload]
                    raise SystemExit(f"{protocol.name}: the call has {arguments}")
            else:
                agent.answer(result(turn))
            now_asked, now_had = metrics(client)
            session.prompt += now_asked - asked
            session.hits += now_had - had
            session.shareable += before
            before = now_asked - asked
    return session


@contextmanager
def served() -> Iterator[httpx.Client]:
    from unisono.hub.resolving import resolve_model

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "demo"
        shutil.copytree(resolve_model(None), folder)
        for name, change in (
            ("config.json", {"max_position_embeddings": 32768}),
            ("tokenizer_config.json", {"chat_template": TEMPLATE}),
        ):
            path = folder / name
            path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        (folder / "chat_template.jinja").unlink(missing_ok=True)
        with (
            demo_server(str(folder), "--served-model-name", "demo") as (address, _),
            httpx.Client(base_url=f"http://{address}", timeout=120) as client,
        ):
            yield client


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with served() as client:
        sessions = [replay(protocol, client, arguments.turns) for protocol in PROTOCOLS]
    if arguments.json:
        print(json.dumps([{**asdict(one), "share": one.share} for one in sessions], indent=1))
        return
    for one in sessions:
        print(
            f"{one.protocol:18} {one.turns} turns, {one.prompt} tokens of prompts: "
            f"{one.hits / one.prompt:.1%} from the prefix cache, {one.share:.1%} of what could be"
        )


if __name__ == "__main__":
    sys.exit(main())
