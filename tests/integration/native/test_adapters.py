"""Adapters beside native kernels: rows without one keep their bits, and held weights theirs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests import adapters, checkpoints
from tests.engines import engine, request, run
from unisono.core import Request, RequestOutput, SamplingParams
from unisono.engine import Engine

PARAMS = SamplingParams(
    temperature=0.0, max_tokens=6, ignore_eos=True, logprobs=0, prompt_logprobs=0
)
RANKS = {"two": 2, "three": 3, "seventeen": 17}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("adapted")
    model = checkpoints.oracle("llama")
    checkpoints.save(model, root / "model")
    for seed, (name, rank) in enumerate(RANKS.items()):
        model = adapters.adapt(model, root / name, seed=seed, r=rank).unload()
    return root


def served(folder: Path, dtype: str, weights: str = "auto") -> Engine:
    made = engine(folder / "model", dtype=dtype, weights=weights, prefix_cache=False)
    for name in RANKS:
        made.load_adapter(name, folder / name)
    return made


def asked() -> list[Request]:
    names = ["two", "", "three", "seventeen", "", "two"]
    prompts = checkpoints.prompts(*range(9, 9 + len(names)))
    return [
        request(i, prompt, PARAMS, adapter=name)
        for i, (name, prompt) in enumerate(zip(names, prompts, strict=True))
    ]


def numbers(output: RequestOutput) -> list[float]:
    scored = [*(output.prompt_logprobs or [])[1:], *(output.logprobs or [])]
    return [entry.logprob for entry in scored if entry]


@pytest.mark.parametrize(
    ("dtype", "weights"), [("bfloat16", "auto"), ("float32", "auto"), ("float32", "int4-g32")]
)
def test_the_bits_of_a_row_do_not_depend_on_others(folder: Path, dtype: str, weights: str) -> None:
    mixed = served(folder, dtype, weights)
    plain = engine(folder / "model", dtype=dtype, weights=weights, prefix_cache=False)
    together = run(mixed, asked())
    for one in asked():
        alone = run(mixed if one.adapter else plain, [one])[one.id]
        assert alone.token_ids == together[one.id].token_ids
        assert numbers(alone) == numbers(together[one.id])


@pytest.mark.parametrize("weights", ["int8", "int4-g32"])
def test_beside_quantised_weights(folder: Path, weights: str) -> None:
    """Quantised weights with an adapter are as near to exact ones with it as both are without."""
    quantised, exact = served(folder, "float32", weights), served(folder, "float32")
    for name in RANKS:
        assert distance(quantised, exact, name) <= 1.5 * distance(quantised, exact, "")


def distance(one: Engine, other: Engine, adapter: str) -> float:
    (prompt,) = checkpoints.prompts(30)
    scores = [
        torch.tensor(numbers(run(each, [request("x", prompt, PARAMS, adapter=adapter)])["x"])[:29])
        for each in (one, other)
    ]
    return float((scores[0] - scores[1]).square().mean().sqrt())


def test_a_layer_adds_the_same_to_any_form(folder: Path) -> None:
    x = torch.randn(5, 64)
    added = []
    for weights in ("auto", "int8", "int4-g32"):
        made = served(folder, "float32", weights)
        rows, linear = made.runner.adapters.rows, made.runner.model.layers[1].self_attn.qkv_proj
        with torch.inference_mode():
            rows.refill(None)
            without = linear(x)
            rows.refill(torch.tensor([0, 1, 3, 2, 0]))
            added.append(linear(x) - without)
            rows.refill(None)
        assert not added[-1][[0, 4]].any()
    for other in added[1:]:
        assert torch.allclose(other, added[0], atol=1e-5)


def test_equal_to_plain_torch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    native = served(folder, "float32")
    monkeypatch.setenv("UNISONO_IGNORE_PACKAGES", "unisono-cpu")
    plain = served(folder, "float32")
    ours, theirs = run(native, asked()), run(plain, asked())
    for one in asked():
        assert numbers(ours[one.id])[:8] == pytest.approx(numbers(theirs[one.id])[:8], abs=2e-3)
