"""A model in two or more parts, each on a thread: the same logits as the whole."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import checkpoints
from tests.families import CASES as ALL_CASES
from tests.families import Case
from tests.passes import groups, logits, on_each
from unisono.core.errors import ConfigError, InsufficientMemoryError
from unisono.hardware import MemoryInfo, find_hardware
from unisono.hardware.ops.standard import (
    Standard,
    StandardAttention,
    StandardDecoder,
    StandardLayer,
    StandardMLP,
)
from unisono.hardware.ranks.collectives import Group
from unisono.models import (
    Decoder,
    LoadedModel,
    RawConfig,
    dividing,
    families,
    find_family,
    fusion,
    load_model,
    parallel,
)
from unisono.models.checkpoint.slots import find_slots
from unisono.models.dividing import divided
from unisono.models.layers import Linear, split
from unisono.models.loading import Reserve
from unisono.models.parallel import Division, Shard
from unisono.models.registry import FAMILIES, read_family

LENGTH = 40
WINDOWED = {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}
_ORDINARY_WORDS = {"layers", "norm"}
"""Names of modules that are also those of folders and files."""
CASES: dict[str, tuple[str, dict[str, Any], int]] = {
    "llama": ("llama", {}, 2),
    "llama-tied": ("llama", {"tie_word_embeddings": True}, 2),
    "llama-biases": ("llama", {"attention_bias": True, "mlp_bias": True}, 2),
    "llama-multi-head": ("llama", {"num_key_value_heads": 4}, 2),
    "llama-one-kv-head": ("llama", {"num_key_value_heads": 1}, 2),
    "llama-more-ranks-than-kv-heads": ("llama", {}, 4),
    "llama-three-ranks-odd-vocabulary": (
        "llama",
        {
            "hidden_size": 96,
            "num_attention_heads": 6,
            "num_key_value_heads": 3,
            "vocab_size": 511,
        },
        3,
    ),
    "llama-tied-odd-vocabulary": ("llama", {"tie_word_embeddings": True, "vocab_size": 511}, 2),
    "qwen2-window": ("qwen2", WINDOWED, 2),
    "qwen3-bias": ("qwen3", {"head_dim": 32, "attention_bias": True}, 2),
    "qwen3-tied": ("qwen3", {"head_dim": 16, "tie_word_embeddings": True}, 2),
    "mistral-window": ("mistral", {"sliding_window": 9}, 2),
}


@pytest.mark.parametrize("case", CASES)
def test_logits_of_the_parts_are_those_of_the_whole(case: str, tmp_path: Path) -> None:
    family, options, size = CASES[case]
    model = checkpoints.oracle(family, **options)
    folder = checkpoints.save(model, tmp_path)
    hardware = find_hardware("cpu")
    prompt = [min(token_id, 510) for token_id in checkpoints.prompts(LENGTH)[0]]
    whole = load_model(folder, hardware, dtype="float32")
    expected = logits(whole, hardware, prompt)
    meeting_place = tmp_path / "meeting"
    meeting_place.mkdir()

    def part(rank: int) -> LoadedModel:
        shard = Shard(rank=rank, size=size)
        return load_model(folder, hardware, dtype="float32", shard=shard)

    parts = [part(rank) for rank in range(size)]
    with groups(hardware, meeting_place, size) as joined:
        for loaded, group in zip(parts, joined, strict=True):
            assert loaded.division is not None
            loaded.division.connect(loaded.model, hardware.ops, group)
        found = on_each(size, lambda rank: logits(parts[rank], hardware, prompt))
    assert found[0].shape == expected.shape
    assert found[0].dtype == torch.float32
    assert (found[0] - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert all(torch.equal(one, found[0]) for one in found)
    assert {one.num_parameters for one in parts} == {whole.num_parameters}
    check_sizes(whole, parts, size)


def check_sizes(whole: LoadedModel, parts: list[LoadedModel], size: int) -> None:
    """Each holds its part of what is divided, and no more."""
    config = whole.model.config
    divided = sum(
        module.weight.numel()
        for name, module in whole.model.named_modules()
        if isinstance(module, Linear) and (name != "lm_head" or not config.tie_embeddings)
    )
    kv_copies = max(1, size // config.num_kv_heads) - 1
    copied = kv_copies * config.num_layers * 2 * config.num_kv_heads * config.head_dim
    copied *= config.hidden_size
    held = sum(
        module.weight.numel()
        for part in parts
        for name, module in part.model.named_modules()
        if isinstance(module, Linear) and (name != "lm_head" or not config.tie_embeddings)
    )
    assert held == divided + copied
    for part in parts:
        (kv,) = part.model.layer_caches(torch.float32)[0].tensors
        heads = max(1, config.num_kv_heads // size)
        assert kv.num_bytes == 2 * heads * config.head_dim * 4
        assert part.weight_bytes < whole.weight_bytes


def test_a_hardware_is_offered_no_op_that_contains_a_sum_over_ranks(tmp_path: Path) -> None:
    folder = checkpoints.save(checkpoints.oracle("llama"), tmp_path)
    hardware = find_hardware("cpu")
    offered: list[type[Standard]] = []

    def fuse(standard: Standard, forward: Any) -> None:
        offered.append(type(standard))

    hardware.ops.fuse = fuse  # type: ignore[method-assign]
    load_model(folder, hardware, dtype="float32", shard=Shard(rank=0, size=2))
    assert set(offered) == {StandardAttention, StandardMLP}
    load_model(folder, hardware, dtype="float32")
    assert set(offered) == {StandardAttention, StandardMLP, StandardLayer, StandardDecoder}


def test_a_module_that_the_hardware_took_over_is_added_up_too(tmp_path: Path) -> None:
    folder = checkpoints.save(checkpoints.oracle("llama"), tmp_path)
    hardware = find_hardware("cpu")

    def fuse(standard: Standard, forward: Any) -> Any:
        return torch.ones_like if isinstance(standard, StandardMLP) else None

    hardware.ops.fuse = fuse  # type: ignore[method-assign]
    loaded = load_model(folder, hardware, dtype="float32", shard=Shard(rank=0, size=2))
    assert loaded.division is not None
    hardware.ops.all_reduce = lambda x, group: x * 2  # type: ignore[method-assign]
    loaded.division.connect(loaded.model, hardware.ops, Group(0, 2, None, False, False))
    assert torch.equal(loaded.model.layers[0].mlp(torch.zeros(1, 64)), torch.full((1, 64), 2.0))


@pytest.mark.parametrize(
    ("options", "size", "says"),
    [
        ({"num_attention_heads": 3, "num_key_value_heads": 3}, 2, "3 attention heads.*2 ranks"),
        ({}, 3, "4 attention heads.*3 ranks.*--tp 2"),
        ({"intermediate_size": 97}, 2, "97 columns of the MLP.*2 ranks"),
        (
            {"num_attention_heads": 12, "num_key_value_heads": 3, "hidden_size": 96},
            4,
            "3 key-value heads.*4 ranks",
        ),
        ({"num_attention_heads": 16, "num_key_value_heads": 1, "vocab_size": 9}, 16, "vocabulary"),
    ],
)
def test_what_does_not_divide(options: dict[str, Any], size: int, says: str) -> None:
    fields = {**checkpoints._SHAPE, "architectures": ["LlamaForCausalLM"], **options}
    raw = RawConfig({**fields, "head_dim": 16})
    with pytest.raises(ConfigError, match=says):
        Division(find_family(raw).read_config(raw), Shard(rank=0, size=size))


def empty(case: Case, shard: Shard | None) -> tuple[Decoder, Division | None]:
    """A model without weights, whole or a rank's."""
    raw = RawConfig(checkpoints.configuration(case.model_type, **case.options).to_dict())
    family, config = read_family(raw)
    plan = None if shard is None else Division(config, shard)
    hardware = find_hardware("cpu")
    model = family(config if plan is None else plan.config, hardware.ops, hardware.device)
    if plan is not None:
        plan.narrow(model)
    return model, plan


@pytest.mark.parametrize("case", ALL_CASES.values(), ids=ALL_CASES)
def test_layers_say_how_they_divide(case: Case) -> None:
    """Each rank knows which part it takes of every tensor of the whole model."""
    whole, _ = empty(case, None)
    expected = {name: slot.shape for name, slot in find_slots(whole, None).items()}
    try:
        divided(whole.config, 2)
    except ConfigError:
        assert not case.whole
        pytest.skip("its sizes are odd")
    for rank in range(2):
        model, plan = empty(case, Shard(rank=rank, size=2))
        found = {name: slot.whole_shape for name, slot in find_slots(model, plan).items()}
        assert found == expected


def test_a_linear_layer_must_say_how_it_divides() -> None:
    with pytest.raises(TypeError, match="split"):
        Linear(find_hardware("cpu").ops, 64, {"router": 8})  # type: ignore[call-arg]


def test_families_know_nothing_of_ranks() -> None:
    for source in Path(families.__file__).parent.glob("*.py"):
        words = set(re.findall(r"\w+", source.read_text("utf-8")))
        assert not words & {"rank", "ranks", "Division", "Shard", "divided"}


def test_dividing_names_no_family_and_no_module() -> None:
    """Names of a family's layers are its own."""
    modules = [
        name for case in ALL_CASES.values() for name, _ in empty(case, None)[0].named_modules()
    ]
    paths = {part for name in modules for part in name.split(".") if part and not part.isdigit()}
    classes = {entry.partition(":")[2] for entry in FAMILIES.values()}
    files = {entry.partition(":")[0].rpartition(".")[2] for entry in FAMILIES.values()}
    for source in (parallel, dividing, split, fusion):
        words = set(re.findall(r"\w+", Path(source.__file__).read_text("utf-8")))
        assert not words & (paths - _ORDINARY_WORDS | classes | files)


def test_ranks_that_share_a_memory_are_counted_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoints.save(checkpoints.oracle("llama"), tmp_path)
    hardware = find_hardware("cpu")
    monkeypatch.setattr(type(hardware), "memory", lambda self: MemoryInfo(2**20, 2**20))
    shard = Shard(rank=0, size=2, sharing=1)

    def reserve(*_: object) -> Reserve:
        return Reserve(kv_bytes=2**18, step_bytes=2**18)

    load_model(folder, hardware, dtype="float32", reserve=reserve, shard=shard)
    with pytest.raises(InsufficientMemoryError, match="each of the 2 ranks"):
        load_model(
            folder,
            hardware,
            dtype="float32",
            reserve=reserve,
            shard=replace(shard, sharing=2),
        )
