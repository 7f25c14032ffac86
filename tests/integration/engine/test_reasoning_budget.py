"""Answers whose reasoning has a budget, from a model that would think for long."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from unisono import LLM, SamplingParams
from unisono.core.errors import InvalidRequestError
from unisono.hub.resolving import resolve_model
from unisono.text.parsers.answer_format import Pair

TALK = [{"role": "user", "content": "My broadband has been down since 9 May."}]
BUDGET = 6


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> LLM:
    """The demo model; what it says up to a ``>`` is taken for reasoning."""
    folder = tmp_path_factory.mktemp("demo") / "model"
    shutil.copytree(resolve_model(None), folder)
    template = "{% for m in messages %}{{ m.content }}{% endfor %}<"
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    llm = LLM(folder, device="cpu", kv_memory=16 * 2**20)
    llm.reader.format = replace(llm.reader.format, thinking=Pair("<", ">"))
    return llm


def test_each_answer_keeps_to_it(llm: LLM) -> None:
    params = SamplingParams(
        temperature=2.0, seed=2, n=3, max_tokens=20, thinking_token_budget=BUDGET
    )
    closing = llm.tokenizer.token_id(">")
    for answer in llm.chat(TALK, params):
        assert closing in answer.token_ids[: BUDGET + 1]
        assert answer.num_reasoning_tokens <= BUDGET + 1
    (free,) = llm.chat(TALK, replace(params, n=1, thinking_token_budget=None, ignore_eos=True))
    assert closing not in free.token_ids[: BUDGET + 1]


def test_a_schema_holds_behind_it(llm: LLM) -> None:
    params = SamplingParams(
        temperature=0, max_tokens=40, thinking_token_budget=BUDGET, schema={"enum": ["so", "no"]}
    )
    (answer,) = llm.chat(TALK, params)
    assert json.loads(answer.text) in ("so", "no")


def test_marks_that_are_no_tokens(llm: LLM) -> None:
    format = llm.reader.format
    llm.reader.format = replace(format, thinking=Pair("<reasoning>", "</reasoning>"))
    with pytest.raises(InvalidRequestError, match="cannot be given a budget"):
        llm.chat(TALK, SamplingParams(thinking_token_budget=3))
    llm.reader.format = format
