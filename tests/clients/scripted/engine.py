"""An engine process whose model is the script of ``policy.py``; each token is a byte."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.clients.scripted.policy import answer
from tests.unit.server.server_fakes import EOS, EchoEngine, EchoInfo
from unisono.core.config import EngineConfig
from unisono.core.errors import ContextLengthError
from unisono.core.parent import serve_parent
from unisono.core.request import Request, RequestOutput, TokenLogprob
from unisono.server.engine.worker import run

CONTEXT = 32768
BURST = 4
"""Tokens of one step: clients get answers in pieces, but not too many."""


@dataclass(kw_only=True)
class ScriptedEngine(EchoEngine):
    tokenizer: Tokenizer
    info: EchoInfo = field(default_factory=partial(EchoInfo, CONTEXT))
    _left: dict[str, list[int]] = field(default_factory=dict)

    def add(self, request: Request) -> None:
        if len(request.prompt_token_ids) >= CONTEXT:
            raise ContextLengthError("Too long.", param="prompt")
        prompt = self.tokenizer.decode(request.prompt_token_ids, skip_special_tokens=True)
        said = answer(prompt, _schema(request))
        tokens = self.tokenizer.encode(said, add_special_tokens=False).ids
        self._left[request.id] = [*tokens, EOS][: request.params.max_tokens or CONTEXT]
        self._running[request.id] = (request, 0)

    def _advance(self, request: Request, at: int) -> RequestOutput:
        tokens = self._left[request.id][at : at + BURST]
        self._running[request.id] = (request, at + BURST)
        output = RequestOutput(request.id, tokens)
        if request.params.logprobs is not None:
            output.logprobs = [TokenLogprob(one, -0.5, 1, ((one, -0.5),)) for one in tokens]
        if at + BURST >= len(self._left[request.id]):
            is_whole = tokens[-1:] == [EOS]
            output.finish_reason = "stop" if is_whole else "length"
            output.stop_token_id = EOS if is_whole else None
            self.abort(request.id)
        return output

    def abort(self, request_id: str) -> None:
        super().abort(request_id)
        self._left.pop(request_id, None)


def _schema(request: Request) -> dict[str, Any] | None:
    constraint = request.params.constraint
    return json.loads(constraint.text) if constraint and constraint.kind == "schema" else None


def build(folder: Path, config: EngineConfig, vocabulary: object) -> Any:
    return ScriptedEngine(tokenizer=Tokenizer.from_file(str(folder / "tokenizer.json")))


if __name__ == "__main__":
    sys.exit(serve_parent(lambda sock: run(sock, build), leave_s=5.0))
