"""lm-eval with a task of three questions: scored texts, and generated ones in chats."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import lm_eval
from lm_eval.tasks import TaskManager

from tests.clients.served import KEY, Served

QUESTIONS = [
    {"question": "Which noise?", "choices": ["loud", "quiet"], "answer": 0},
    {"question": "Which parcel?", "choices": ["lost", "found"], "answer": 1},
    {"question": "Which bill?", "choices": ["paid", "due"], "answer": 1},
]
TASK: dict[str, Any] = {
    "dataset_path": "json",
    "test_split": "test",
    "doc_to_text": "{{question}}",
    "metadata": {"version": 1.0},
}
CHOICE = {"output_type": "multiple_choice", "doc_to_choice": "choices", "doc_to_target": "answer"}
FREE = {
    "output_type": "generate_until",
    "doc_to_target": "You said: {{question}}",
    "generation_kwargs": {"until": ["\n\n"], "max_gen_toks": 64, "do_sample": False},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}


def evaluate(folder: Path, kind: str, options: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    data = folder / "questions.jsonl"
    data.write_text("\n".join(map(json.dumps, QUESTIONS)), encoding="utf-8")
    task = {
        **TASK,
        **options,
        "task": "tiny",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
    }
    (folder / "tiny.yaml").write_text(json.dumps(task), encoding="utf-8")  # JSON is YAML
    os.environ["OPENAI_API_KEY"] = KEY
    found = lm_eval.simple_evaluate(
        model=kind,
        model_args={"num_concurrent": 1, "max_retries": 1, **arguments.pop("model_args")},
        tasks=["tiny"],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
        **arguments,
    )
    assert found is not None
    return found["results"]["tiny"]


def test_scored_texts(demo: Served, tmp_path: Path) -> None:
    arguments = {
        "model": demo.model,
        "base_url": f"{demo.v1}/completions",
        "tokenizer_backend": "remote",
        "auth_token": KEY,
    }
    scores = evaluate(tmp_path, "local-completions", CHOICE, model_args=arguments)
    assert 0 <= scores["acc,none"] <= 1


def test_generated_texts(scripted: Served, tmp_path: Path) -> None:
    arguments = {"model": scripted.model, "base_url": f"{scripted.v1}/chat/completions"}
    scores = evaluate(
        tmp_path, "local-chat-completions", FREE, model_args=arguments, apply_chat_template=True
    )
    assert scores["exact_match,none"] == 1
