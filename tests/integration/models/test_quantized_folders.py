"""A folder with quantised weights answers as the original does with the same ``--weights``."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoints import oracle, prompts, save
from tests.engines import engine
from tests.passes import logits, logits_of_parts
from unisono.core import WeightFormat
from unisono.core.errors import (
    CheckpointError,
    ConfigError,
    InsufficientMemoryError,
    ModelError,
    UnisonoError,
    UnsupportedModelError,
)
from unisono.hardware import MemoryInfo, find_hardware
from unisono.hardware.devices.cpu import CpuHardware
from unisono.models import load_model
from unisono.models.checkpoint import quantizing
from unisono.models.checkpoint.model_card import QuantizedFolder
from unisono.models.checkpoint.quantizing import QuantizePlan
from unisono.models.parallel import Shard

PROMPT = prompts(40)[0]
WIDE: dict[str, Any] = {"hidden_size": 128, "intermediate_size": 256, "head_dim": 32}
FORMATS = ["int8", "int8-g32", "int4", "int4-g64", "int4-asym", "int4-asym-g128"]


def parsed(text: str) -> WeightFormat:
    format = WeightFormat.parse(text)
    assert format is not None
    return format


def quantized(folder: Path, text: str, out: Path, **options: Any) -> QuantizedFolder:
    return QuantizePlan(folder, parsed(text)).write(out, source="org/original", **options)


def all_logits(folder: Path, **options: Any) -> torch.Tensor:
    hardware = find_hardware("cpu")
    return logits(load_model(folder, hardware, **options), hardware, PROMPT)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(oracle("qwen3", **WIDE), tmp_path_factory.mktemp("original"))


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A quantised folder that a test may break."""
    quantized(original, "int4", tmp_path / "int4")
    return tmp_path / "int4"


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


# -- the same answers -------------------------------------------------------------------------


@pytest.mark.parametrize("text", FORMATS)
@pytest.mark.parametrize("tied", [True, False])
def test_the_same_logits_bit_for_bit(text: str, tied: bool, tmp_path: Path) -> None:
    plain = save(oracle("qwen3", tie_word_embeddings=tied, **WIDE), tmp_path / "plain")
    quantized(plain, text, tmp_path / "out")
    expected = all_logits(plain, weights=text)
    assert torch.equal(all_logits(tmp_path / "out"), expected)
    assert torch.equal(all_logits(tmp_path / "out", weights=text), expected)
    assert not torch.equal(all_logits(plain), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("llama", {"attention_bias": True, "mlp_bias": True}),
        ("mistral", {"sliding_window": 9}),
        ("qwen2", {"tie_word_embeddings": True}),
        ("qwen3", {"head_dim": 32, "attention_bias": True}),
    ],
)
def test_every_family(
    family: str, options: dict[str, Any], dtype: torch.dtype, tmp_path: Path
) -> None:
    plain = save(oracle(family, **options).to(dtype), tmp_path / "plain", max_shard_size="100KB")
    quantized(plain, "int4", tmp_path / "out", file_bytes=50_000)
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 1
    assert torch.equal(all_logits(tmp_path / "out"), all_logits(plain, weights="int4"))


@pytest.mark.parametrize(("tied", "vocabulary"), [(True, 511), (False, 512)])
@pytest.mark.parametrize("text", ["int4", "int4-asym-g64"])
def test_in_two_parts(tied: bool, vocabulary: int, text: str, tmp_path: Path) -> None:
    plain = oracle("llama", tie_word_embeddings=tied, vocab_size=vocabulary, **WIDE)
    quantized(save(plain, tmp_path / "plain"), text, tmp_path / "out")
    hardware = CpuHardware()  # Its products round no activations, so that parts add up closely.
    expected = logits(load_model(tmp_path / "out", hardware), hardware, PROMPT)
    parts = logits_of_parts(tmp_path / "out", hardware, tmp_path / "meeting", 2, PROMPT)
    assert torch.equal(parts[0], parts[1])
    assert (parts[0] - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_parts_that_cut_a_group(tmp_path: Path) -> None:
    plain = save(oracle("llama", **{**WIDE, "intermediate_size": 384}), tmp_path / "plain")
    quantized(plain, "int4-g128", tmp_path / "out")
    with pytest.raises(ConfigError, match=r"down_proj.*groups of 128.*2 ranks.*--tp 1"):
        load_model(tmp_path / "out", find_hardware("cpu"), shard=Shard(rank=0, size=2))


# -- what is said -----------------------------------------------------------------------------


def test_what_was_written_is_what_the_summary_says(original: Path, tmp_path: Path) -> None:
    result = quantized(original, "int4", tmp_path / "out")
    before, after = (
        sum(t.nbytes for t in load_file(folder / "model.safetensors").values())
        for folder in (original, tmp_path / "out")
    )
    assert (result.bytes_before, result.bytes_after) == (before, after)
    assert result.num_quantized == 3 * 7 + 1
    assert 4.5 < result.bits_per_weight < 6.5  # the head has 8.5
    assert (result.format, result.folder) == ("int4-g32", tmp_path / "out")


def test_the_engine_says_what_it_holds(original: Path, folder: Path) -> None:
    ours, theirs = engine(folder).info, engine(original, weights="int4").info
    assert ours.weight_format == theirs.weight_format == "int4-g32"
    assert ours.num_parameters == theirs.num_parameters
    assert ours.weight_bytes == theirs.weight_bytes


def test_memory_is_asked_for_as_quantised(
    original: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, whole = engine(folder).info, engine(original).info
    room = (held.weight_bytes + whole.weight_bytes) // 2 + held.kv_bytes + held.activation_bytes
    monkeypatch.setattr(CpuHardware, "memory", lambda self: MemoryInfo(room, 1 << 40))
    assert engine(folder).info.weight_bytes == held.weight_bytes
    with pytest.raises(InsufficientMemoryError):
        engine(original)


def test_another_format_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"int4-g32.*int8-g128.*--weights.*auto"):
        engine(folder, weights="int8")


def test_the_card_says_what_it_was_made_from(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nbase_model: org/original\nbase_model_relation: quantized\n")
    assert "int4-g32" in card
    assert "4 bits, symmetric, groups of 32" in card


def test_companions_go_along(original: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    names = ["tokenizer.json", "additional_chat_templates/tool_use.jinja"]
    companions = dict.fromkeys(names, tmp_path / "tokenizer.json")
    quantized(original, "int4", tmp_path / "out", companions=companions)
    assert [(tmp_path / "out" / name).read_text() for name in names] == ["{}", "{}"]


# -- refused before anything is written -------------------------------------------------------


def refused(
    error: type[UnisonoError], words: str, folder: Path, out: Path, text: str = "int4"
) -> None:
    """Nothing is written, beside ``out`` neither."""
    before = sorted(out.parent.iterdir()) if out.parent.is_dir() else []
    with pytest.raises(error, match=words):
        quantized(folder, text, out)
    assert (sorted(out.parent.iterdir()) if out.parent.is_dir() else []) == before


def test_an_out_that_is_there(original: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    refused(ConfigError, "is a file", original, tmp_path / "file")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    refused(ConfigError, "is not empty", original, tmp_path / "full")
    (tmp_path / "empty").mkdir()
    quantized(original, "int4", tmp_path / "empty")
    assert (tmp_path / "empty" / "config.json").is_file()


def test_groups_that_do_not_divide(tmp_path: Path) -> None:
    plain = save(oracle("llama"), tmp_path / "plain")
    refused(
        ConfigError,
        r"Groups of 64 do not divide 3 weights: down_proj \(96 inputs\).*Groups of 32 do",
        plain,
        tmp_path / "out",
        "int4-g64",
    )
    odd = save(oracle("llama", intermediate_size=72), tmp_path / "odd")
    refused(ConfigError, r"down_proj \(72 inputs\).*None of 32, 64 and 128", odd, tmp_path / "out")


def test_a_model_that_is_quantised_already(folder: Path, tmp_path: Path) -> None:
    refused(UnsupportedModelError, "quantised already", folder, tmp_path / "out")


def test_a_checkpoint_that_is_incomplete(original: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(original, tmp_path / "broken")
    rewrite(broken, lambda tensors: tensors.pop("model.norm.weight"))
    refused(CheckpointError, r"lacks 1 tensors, such as model\.norm", broken, tmp_path / "out")


def test_weights_that_are_not_finite(original: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(original, tmp_path / "broken")
    name = "model.layers.1.mlp.up_proj.weight"
    rewrite(broken, lambda tensors: tensors[name][3].fill_(float("nan")))
    refused(CheckpointError, rf"{name}: A weight that is not finite", broken, tmp_path / "out")


def test_a_disk_without_room(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    refused(ConfigError, r"1000 B free.*need.*KiB", original, tmp_path / "out")


def test_a_disk_that_fills_up(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(quantizing.TensorWriter, "write", full)
    refused(ModelError, "No space left", original, tmp_path / "out")


def test_an_interrupted_run_leaves_nothing(original: Path, tmp_path: Path) -> None:
    def interrupt(name: str) -> None:
        if "layers.1" in name:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantized(original, "int4", tmp_path / "out", on_tensor=interrupt)
    assert list(tmp_path.iterdir()) == []


# -- damaged folders --------------------------------------------------------------------------

WEIGHT = "model.layers.0.self_attn.k_proj.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop(f"{WEIGHT}_scale"), r"k_proj.*weight_packed.*does not state"),
        (lambda t: t.pop(f"{WEIGHT}_packed"), r"k_proj.*weight_scale.*does not state"),
        (lambda t: t[f"{WEIGHT}_scale"].fill_(float("nan")), "scales that are no numbers"),
        (lambda t: t[f"{WEIGHT}_shape"].fill_(7), r"weight_shape says \[7, 7\]"),
        (
            lambda t: t.update({f"{WEIGHT}_packed": t[f"{WEIGHT}_packed"][:, 1:].contiguous()}),
            r"k_proj.*weight_packed \[64, 15\]",
        ),
        (
            lambda t: t.update({f"{WEIGHT}_zero_point": torch.zeros(8, 4, dtype=torch.int32)}),
            "k_proj.*weight_zero_point",
        ),
        (
            lambda t: t.update({WEIGHT: torch.zeros(64, 128)}),
            "k_proj.weight .*weight .64, 128.*does not state",
        ),
        (
            lambda t: [t.pop(name) for name in list(t) if name.startswith(WEIGHT)],
            r"lacks 1 tensors, such as .*k_proj.weight",
        ),
        (
            lambda t: [t.pop(name) for name in list(t) if "weight_" in name],
            "states quantised weights, and there are none",
        ),
        (lambda t: t.update({f"{WEIGHT}_g_idx": torch.zeros(128)}), "g_idx .128.*does not state"),
    ],
)
def test_tensors_that_contradict_one_another(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], None], words: str
) -> None:
    rewrite(folder, change)
    with pytest.raises((CheckpointError, UnsupportedModelError), match=words):
        engine(folder)


def test_a_configuration_of_another_format(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    for group in config["quantization_config"]["config_groups"].values():
        group["weights"]["group_size"] = 64
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="json does not state"):
        engine(folder)


def mixed(original: Path, root: Path, ends: tuple[str, ...]) -> Path:
    """A folder of 4 bits, in which modules with these ends of names have 8."""
    quantized(original, "int4", root / "int4")
    quantized(original, "int8", root / "int8")

    def swap(tensors: dict[str, torch.Tensor]) -> None:
        for name, tensor in load_file(root / "int8" / "model.safetensors").items():
            if name.rpartition(".")[0].endswith(ends):
                tensors[name] = tensor

    rewrite(root / "int4", swap)
    config = json.loads((root / "int4" / "config.json").read_text())
    groups = json.loads((root / "int8" / "config.json").read_text())["quantization_config"]
    config["quantization_config"]["config_groups"]["group_2"] = groups["config_groups"]["group_0"]
    (root / "int4" / "config.json").write_text(json.dumps(config))
    return root / "int4"


def test_layers_of_several_formats(original: Path, tmp_path: Path) -> None:
    folder = mixed(original, tmp_path, ("down_proj", "o_proj"))
    less, more = all_logits(original, weights="int4"), all_logits(original)
    error, between = (all_logits(folder) - more).norm(), (less - more).norm()
    assert 0 < error < between
    assert engine(folder).info.weight_format == "int4-g32"


def test_parts_of_a_layer_of_several_formats(original: Path, tmp_path: Path) -> None:
    folder = mixed(original, tmp_path, ("q_proj", "up_proj"))
    apart = mixed(original, tmp_path / "2", ("o_proj",))
    less, more = all_logits(original, weights="int4"), all_logits(original)
    assert 0 < (all_logits(folder) - more).norm() < (less - more).norm()
    assert engine(folder).info.weight_format == engine(apart).info.weight_format == "int4-g32"


def test_parts_of_a_layer_that_are_not_quantised(original: Path, folder: Path) -> None:
    plain = load_file(original / "model.safetensors")

    def put_back(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in plain if name.endswith(("k_proj.weight", "up_proj.weight"))]:
            for piece in ("packed", "scale", "shape"):
                del tensors[f"{name}_{piece}"]
            tensors[name] = plain[name]

    less, more = all_logits(folder), all_logits(original)
    rewrite(folder, put_back)
    assert 0 < (all_logits(folder) - more).norm() < (less - more).norm()
    rewrite(folder, lambda t: t.update({WEIGHT: torch.zeros(64, 64)}))
    with pytest.raises(CheckpointError, match=r"k_proj.weight has shape \[64, 64\]"):
        engine(folder)
