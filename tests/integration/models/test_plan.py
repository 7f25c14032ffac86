"""A start builds its model once, and what is planned before loading is what is held after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests import checkpoints
from tests.engines import engine
from tests.gguf_files import write_gguf
from tests.packing_hardware import PackingHardware
from unisono.core import WeightFormat
from unisono.models import LoadedModel, load_model
from unisono.models.checkpoint.plan import WeightPlan
from unisono.models.checkpoint.quantizing import QuantizePlan
from unisono.models.decoder import Decoder
from unisono.models.loading import Reserve
from unisono.models.parallel import Shard

RANK = Shard(rank=1, size=2)
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "quantised": {"weights": "int4"},
    "quantised-asymmetric": {"weights": "int4-asym"},
    "rank": {"shard": RANK},
    "quantised-rank": {"weights": "int8", "shard": RANK},
}


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[type[Decoder]]:
    """The models that have been built since."""
    built: list[type[Decoder]] = []
    build = Decoder.__init__

    def count(self: Decoder, *args: Any) -> None:
        built.append(type(self))
        build(self, *args)

    monkeypatch.setattr(Decoder, "__init__", count)
    return built


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNISONO_WEIGHT_CACHE", str(tmp_path / "cache"))


def save(folder: Path, *, tied: bool) -> Path:
    model = checkpoints.oracle("qwen2", tie_word_embeddings=tied, intermediate_size=128)
    return checkpoints.save(model, folder)


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return save(tmp_path / "model", tied=request.param)


@pytest.fixture
def untied(tmp_path: Path) -> Path:
    return save(tmp_path / "model", tied=False)


def load(path: Path, **options: Any) -> tuple[LoadedModel, WeightPlan]:
    """A model, and the plan that was shown before any of its weights was loaded."""
    plans: list[WeightPlan] = []

    def reserve(plan: WeightPlan) -> Reserve:
        assert all(parameter.is_meta for parameter in plan.model.parameters())
        plans.append(plan)
        return Reserve()

    loaded = load_model(path, PackingHardware(), reserve=reserve, **options)
    (plan,) = plans
    return loaded, plan


@pytest.mark.parametrize("name", CASES)
def test_a_start_builds_one_model(folder: Path, name: str, builds: list[type[Decoder]]) -> None:
    for kept in (False, True, True):  # Without a cache, with an empty one, and with a full one.
        builds.clear()
        loaded, plan = load(folder, weight_cache=kept, **CASES[name])
        assert len(builds) == 1
        assert loaded.model is plan.model


def test_where_nothing_can_be_kept_the_model_is_still_the_same(
    folder: Path, tmp_path: Path, builds: list[type[Decoder]]
) -> None:
    (tmp_path / "cache").write_bytes(b"")
    load(folder, weights="int4")
    assert len(builds) == 1


def test_an_engine_builds_one_model(folder: Path, builds: list[type[Decoder]]) -> None:
    engine(folder, weights="int8")
    assert len(builds) == 1


def test_quantising_a_folder_builds_one_model(
    folder: Path, tmp_path: Path, builds: list[type[Decoder]]
) -> None:
    format = WeightFormat.parse("int4")
    assert format is not None
    QuantizePlan(folder, format).write(tmp_path / "out", source="original")
    assert len(builds) == 1
    builds.clear()
    load(tmp_path / "out")
    assert len(builds) == 1


def test_a_gguf_file_builds_one_model(tmp_path: Path, builds: list[type[Decoder]]) -> None:
    path = write_gguf(checkpoints.oracle("llama"), tmp_path / "model.gguf", "Q8_0")
    load(path)
    assert len(builds) == 1


@pytest.mark.parametrize("name", CASES)
def test_bytes_are_held_as_planned(folder: Path, name: str) -> None:
    loaded, plan = load(folder, **CASES[name])
    assert plan.num_bytes == pytest.approx(loaded.weight_bytes, rel=1e-3)


@pytest.mark.parametrize("shard", [None, RANK], ids=["whole", "rank"])
def test_bytes_of_stored_forms_are_held_as_planned(untied: Path, shard: Shard | None) -> None:
    format = WeightFormat.parse("int8-g32")
    assert format is not None
    out = untied.parent / "out"
    QuantizePlan(untied, format).write(out, source="original")
    loaded, plan = load(out, shard=shard)
    assert plan.format == format
    assert plan.num_bytes == pytest.approx(loaded.weight_bytes, rel=1e-3)


def test_a_plan_says_how_each_weight_is_held(folder: Path) -> None:
    _, plan = load(folder, weights="int4", shard=RANK)
    format = plan.format
    assert isinstance(format, WeightFormat)
    down = plan.weights["model.layers.0.mlp.down_proj.weight"]
    assert down.format == format
    assert down.slot.whole_shape == (down.slot.shape[0], 2 * down.slot.shape[1])
    assert down.num_bytes == down.slot.shape[0] * down.slot.shape[1] * format.bits_per_weight / 8
    norm = plan.weights["model.layers.0.input_layernorm.weight"]
    assert (norm.format, norm.dtype, norm.slot.cut) == (None, torch.float32, None)
    assert plan.rounded["lm_head"] == format.of_head
