"""Modules that unisono-cpu runs in one call each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests import checkpoints
from tests.families import CASES
from unisono.hardware import find_hardware
from unisono.hardware.ops.standard import StandardDecoder
from unisono.models import Decoder, load_model
from unisono.models.parallel import Shard


def loaded(name: str, folder: Path, shard: Shard | None = None) -> Decoder:
    case = CASES[name]
    checkpoints.save(checkpoints.oracle(case.model_type, **case.options), folder)
    return load_model(folder, find_hardware("cpu"), dtype="float32", shard=shard).model


def taken_over(model: Decoder) -> set[str]:
    return {name for name, module in model.named_modules() if "forward" in vars(module)}


@pytest.mark.parametrize("name", ["llama", "qwen3", "qwen2-tied", "mistral", "phi3-longrope"])
def test_a_standard_decoder_is_one_call(name: str, tmp_path: Path) -> None:
    assert taken_over(loaded(name, tmp_path)) == {""}


def test_of_others_mlps_are_one_call_each(tmp_path: Path) -> None:
    experts = {"layers.1.mlp.shared_expert", "layers.2.mlp.shared_expert"}
    assert taken_over(loaded("afmoe", tmp_path)) == {"layers.0.mlp"} | experts


def test_a_rank_runs_mlps(tmp_path: Path) -> None:
    found = taken_over(loaded("llama", tmp_path, Shard(rank=0, size=2)))
    assert found == {f"layers.{layer}.mlp" for layer in range(3)}


def test_layers_that_differ_in_what_a_call_states_once_are_left(tmp_path: Path) -> None:
    model = loaded("llama", tmp_path)
    ops, record = model.embed_tokens.ops, model.standard()
    assert isinstance(record, StandardDecoder)
    assert ops.fuse(record, model.forward) is not None
    first, *others = record.layers
    odd_scale = replace(first, attention=replace(first.attention, scale=1.0))
    odd_norm = replace(first, mlp_norm=replace(first.mlp_norm, eps=0.5))
    for odd in (odd_scale, odd_norm):
        assert ops.fuse(replace(record, layers=(odd, *others)), model.forward) is None
