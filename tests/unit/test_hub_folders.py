"""Folders that are no model: each is told what it is, in one line with the next step."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from unisono.core.errors import CheckpointError, ModelError, ModelNotFoundError
from unisono.hub import looks_like_model, resolve_model
from unisono.hub.files import require_safetensors

MODEL = ("config.json", "model.safetensors")
COMMIT, OTHER = "a" * 40, "b" * 40


def folder_of(root: Path, *names: str) -> Path:
    """With files of these names; those that end in / are folders."""
    for name in names:
        path = root / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_text("{}")
    return root


def refused(folder: Path, *words: str, error: type[ModelError] = CheckpointError) -> None:
    with pytest.raises(error) as caught:
        resolve_model(str(folder))
    assert caught.value.hint
    assert all(word in str(caught.value) for word in (str(folder), *words)), caught.value
    assert "\n" not in str(caught.value)


KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "diffusers": (("model_index.json", "unet/config.json", "unet/x.safetensors"), "diffusion"),
    "diffusers with weights": (("model_index.json", *MODEL), "diffusion"),
    "native": (("params.json", "consolidated.safetensors", "tekken.json"), "maker's own form"),
    "native beside a config": (("config.json", "consolidated.00.pth"), "maker's own form"),
    "sentence-transformers": (("modules.json", "0_Transformer/config.json"), "embeds texts"),
    "onnx": (("config.json", "onnx/model.onnx", "tokenizer.json"), "ONNX"),
    "onnx alone": (("model.onnx",), "ONNX"),
    "openvino": (("config.json", "openvino_model.xml", "openvino_model.bin"), "OpenVINO"),
    "tensorrt": (("config.json", "rank0.engine"), "TensorRT-LLM"),
    "pickled": (("config.json", "pytorch_model.bin", "training_args.bin"), "pickled"),
    "pickled shards": (("config.json", "pytorch_model-00001-of-00002.bin"), "save_pretrained"),
    "tensorflow": (("config.json", "tf_model.h5"), "TensorFlow"),
    "training": (("optimizer.pt", "scheduler.pt", "rng_state.pth"), "state of a training run"),
    "distributed": ((".metadata", "__0_0.distcp"), "in pieces"),
    "deepspeed": (("config.json", "global_step500/", "zero_to_fp32.py", "latest"), "in pieces"),
    "tokenizer": (("tokenizer.json", "tokenizer_config.json"), "tokenizer without a model"),
    "data": (("train.parquet",), "data set"),
    "cache": (("models--org--name/snapshots/", "version.txt"), "hub's cache"),
    "nested": (("README.md", "inner/config.json", "inner/model.safetensors"), "one level down"),
    "nested gguf": (("inner/a.gguf",), "inner"),
    "training run": (
        tuple(f"checkpoint-{step}/{name}" for step in (5, 10) for name in MODEL),
        "2 models: checkpoint-10, checkpoint-5",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_folder_is(kind: str, tmp_path: Path) -> None:
    names, word = KINDS[kind]
    refused(folder_of(tmp_path, *names), word)


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("pytorch_model.bin", "onnx/model.onnx", "tf_model.h5"),
        ("params.json", "consolidated.safetensors", "original/"),
        ("modules.json", "config_sentence_transformers.json", "1_Pooling/config.json"),
        ("optimizer.pt", "trainer_state.json", "adapter_config.json"),
        ("inner/config.json", "inner/model.safetensors"),
    ],
)
def test_a_model_with_other_things_beside_it(more: tuple[str, ...], tmp_path: Path) -> None:
    assert resolve_model(str(folder_of(tmp_path, *MODEL, *more))) == tmp_path


def test_an_empty_folder(tmp_path: Path) -> None:
    refused(tmp_path, "is empty")


@pytest.mark.parametrize("base", ["org/base", "", None, 7, ["x"]])
@pytest.mark.parametrize("more", [(), ("config.json",)])
def test_an_adapter_names_its_base(base: Any, more: tuple[str, ...], tmp_path: Path) -> None:
    folder_of(tmp_path, "adapter_model.safetensors", *more)
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps({"base_model_name_or_path": base}))
    refused(
        tmp_path,
        "adapter (LoRA)",
        "merge_and_unload",
        *(
            ["(LoRA) of 'org/base'", "with 'org/base'"]
            if base == "org/base"
            else ["with its model"]
        ),
    )
    config.write_text("[")
    with pytest.raises(CheckpointError, match=r"adapter_config\.json"):
        resolve_model(str(tmp_path))


def test_a_repository_is_told_by_its_names() -> None:
    for names, word in (KINDS["onnx"], KINDS["pickled"], (("a-Q4_K_M.gguf",), "GGUF")):
        with pytest.raises(CheckpointError, match=word):
            require_safetensors(names, "org/name")
    with pytest.raises(CheckpointError, match=r"adapter \(LoRA\)"):
        require_safetensors(["adapter_config.json", "adapter_model.safetensors"], "org/name")
    require_safetensors(MODEL, "org/name")


# -- a hub's cache of a repository --------------------------------------------------------------


def cached(root: Path, *commits: str, main: str | None = None) -> Path:
    folder = root / "models--org--name"
    (folder / "blobs").mkdir(parents=True)
    (folder / "snapshots").mkdir()
    for commit in commits:
        folder_of(folder / "snapshots" / commit, *MODEL)
    if main is not None:
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(main)
    return folder


@pytest.mark.parametrize("main", [None, COMMIT, "../../..", "c" * 40])
def test_a_cached_repository_is_its_snapshot(main: str | None, tmp_path: Path) -> None:
    folder = cached(tmp_path, COMMIT, main=main)
    assert resolve_model(str(folder)) == folder / "snapshots" / COMMIT


def test_a_cached_repository_is_what_its_main_branch_was(tmp_path: Path) -> None:
    folder = cached(tmp_path, COMMIT, OTHER, main=OTHER)
    assert resolve_model(str(folder)) == folder / "snapshots" / OTHER


@pytest.mark.parametrize("commits", [(), (COMMIT, OTHER)])
def test_a_cached_repository_without_a_main_branch(
    commits: tuple[str, ...], tmp_path: Path
) -> None:
    refused(cached(tmp_path, *commits), f"{len(commits)} snapshots", error=ModelNotFoundError)


# -- what is no folder --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["~nobody-here/model", "x" * 5000, "a/" * 3000, "a\0b", "\ud800"])
def test_names_that_no_system_has(name: str) -> None:
    assert not looks_like_model(name)
    with pytest.raises(ModelNotFoundError) as caught:
        resolve_model(name)
    assert len(str(caught.value)) < 600


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    refused(tmp_path, "Permission denied")
