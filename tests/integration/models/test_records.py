"""Families that have records of their modules. ``test_families`` checks the records."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor

from tests import checkpoints
from tests.families import CASES, Case
from tests.records import records_in
from unisono.hardware import find_hardware
from unisono.hardware.ops.standard import (
    StandardAttention,
    StandardDecoder,
    StandardLayer,
    StandardMLP,
)
from unisono.models import Decoder, RawConfig
from unisono.models.layers import MLP, Attention, DecoderLayer, Embedding, Linear, RMSNorm
from unisono.models.layers.described import Described
from unisono.models.registry import read_family

_ALL_STANDARD = {
    *("llama", "mistral", "ministral", "qwen2", "qwen3", "phi3"),
    *("internlm3", "seed_oss"),
}
"""Types of models that are standard from the first op to the last, whatever the option."""
_MORE_IN_ATTENTION = {
    "afmoe": "a gate",
    "qwen3_next": "a gate",
    "qwen3_5_text": "a gate",
    "hunyuan_v1_dense": "norms behind the rotation",
    "llama4_text": "chunks, and queries that grow",
    "ministral3": "queries that grow",
    "gemma2": "capped scores",
    "gemma3_text": "norms around 1",
    "gemma4_text": "normed values",
    "gpt_oss": "sinks",
    "cohere": "neighbouring pairs that rotate",
    "olmo2": "norms of all heads at once",
    "deepseek_v3": "latents",
}
_MORE_IN_LAYERS = {
    "granite": "scaled branches",
    "exaone4": "norms behind branches",
    "hyperclovax": "norms around branches",
    "stablelm": "layer norms",
}


def kinds(case: Case) -> set[type]:
    return {type(record) for _, record in records_in(empty(case)) if record is not None}


def empty(case: Case) -> Decoder:
    raw = RawConfig(checkpoints.configuration(case.model_type, **case.options).to_dict())
    family, config = read_family(raw)
    hardware = find_hardware("cpu")
    return family(config, hardware.ops, hardware.device)


def cases(*model_types: str) -> dict[str, Case]:
    found = {name: case for name, case in CASES.items() if case.model_type in model_types}
    assert {case.model_type for case in found.values()} == set(model_types)
    return found


@pytest.mark.parametrize("name", cases(*_ALL_STANDARD))
def test_standard_families_are_offered_whole(name: str) -> None:
    assert {StandardDecoder, StandardLayer, StandardAttention, StandardMLP} <= kinds(CASES[name])


@pytest.mark.parametrize("name", cases(*_MORE_IN_ATTENTION))
def test_attention_that_computes_more_has_no_record(name: str) -> None:
    assert not kinds(CASES[name]) & {StandardAttention, StandardLayer, StandardDecoder}


@pytest.mark.parametrize("name", cases(*_MORE_IN_LAYERS))
def test_a_layer_that_computes_more_has_no_record(name: str) -> None:
    found = kinds(CASES[name])
    assert StandardAttention in found
    assert not found & {StandardLayer, StandardDecoder}


@pytest.mark.parametrize("described", [Attention, DecoderLayer, Embedding, Linear, MLP, RMSNorm])
def test_a_subclass_has_no_record_of_its_own(described: type[Described]) -> None:
    """Whatever it overrides, and though it forgets to say so."""
    other = type("Other", (described,), {})
    module: Any = object.__new__(other)
    assert module.standard() is None


def test_a_decoder_with_one_part_of_another_kind_has_no_record() -> None:
    class Doubled(MLP):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    model = empty(CASES["llama"])
    assert model.standard() is not None
    model.layers[1].mlp = Doubled(find_hardware("cpu").ops, model.config)
    assert model.standard() is None
    assert isinstance(model.layers[0].standard(), StandardLayer)
