"""Makes the built-in demo model: tokenizer, training, evaluation, report. Reproducible by seed.

python scripts/make_demo_model.py --seed 1 --out unisono/demo
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import transformers
from demo_model import evaluation, report, testsets
from demo_model.training import Recipe, Trainer, TrainingLog, shape_of
from demo_model.vocabulary import save_tokenizer, train_tokenizer
from rich.console import Console

_TEST_SEED = 20_261_122
_CHECKPOINT_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)
_console = Console(highlight=False, soft_wrap=True)


def _say(line: str) -> None:
    _console.print(line)


def _parse_arguments() -> argparse.Namespace:
    default = Recipe()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--steps", type=int, default=default.steps)
    parser.add_argument("--threads", type=int, default=default.num_threads)
    parser.add_argument("--out", type=Path, default=Path("unisono/demo"))
    parser.add_argument("--document", type=Path, default=Path("docs/demo-model.md"))
    parser.add_argument(
        "--evaluate-only", action="store_true", help="score and report the checkpoint in --out"
    )
    return parser.parse_args()


def _machine(threads: int) -> str:
    return (
        f"CPU, {threads} threads, bfloat16; torch {torch.__version__}, "
        f"transformers {transformers.__version__}, Python {platform.python_version()}"
    )


def _command(recipe: Recipe) -> str:
    return f"python scripts/make_demo_model.py --seed {recipe.seed} --steps {recipe.steps}"


def _facts(recipe: Recipe, trainer: Trainer, log: TrainingLog, folder: Path) -> dict[str, Any]:
    config = trainer.network.config
    return {
        "command": _command(recipe),
        "date": datetime.date.today().isoformat(),
        "machine": _machine(recipe.num_threads),
        "shape": shape_of(config),
        "parameters": trainer.network.num_parameters(),
        "vocabulary": config.vocab_size,
        "folder_bytes": sum((folder / name).stat().st_size for name in _CHECKPOINT_FILES),
        "tokens_per_second": round(log.num_tokens / log.seconds),
        "recipe": asdict(recipe),
        **asdict(log),
    }


def _train(recipe: Recipe, folder: Path) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    _say("training the tokenizer")
    tokenizer = train_tokenizer(recipe.seed)
    save_tokenizer(tokenizer, folder)
    trainer = Trainer(recipe, tokenizer, _say)
    log = trainer.train(folder)
    facts = _facts(recipe, trainer, log, folder)
    (folder / "scores.json").write_text(json.dumps({"training": facts}), encoding="utf-8")
    return facts


def _evaluate(folder: Path) -> dict[str, Any]:
    answerer = evaluation.Answerer(folder)
    scores: dict[str, Any] = {}
    for name, cases in testsets.all_test_sets(_TEST_SEED).items():
        outcomes = evaluation.run(answerer, cases, lambda line, name=name: _say(f"{name}: {line}"))
        scores[name] = evaluation.score(outcomes)
        _say(f"{name}: {scores[name]['all']}")
    return scores


def main() -> int:
    arguments = _parse_arguments()
    recipe = Recipe(seed=arguments.seed, steps=arguments.steps, num_threads=arguments.threads)
    torch.set_num_threads(arguments.threads)
    if arguments.evaluate_only:
        known = json.loads((arguments.out / "scores.json").read_text(encoding="utf-8"))
        facts = known["training"]
    else:
        facts = _train(recipe, arguments.out)
    scores = {"training": facts, "sets": _evaluate(arguments.out)}
    report.write(scores, arguments.out, arguments.document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
