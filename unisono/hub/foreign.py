"""Folders and repositories that are no model that is read: what they are instead, and what to do.

Goes by the names of files, and by small files that say what they belong to. Knows no hub.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from unisono.core.errors import CheckpointError
from unisono.core.folder_files import read_json_object

_MAX_ENTRIES = 10_000
_MAX_SHOWN = 5
_MAX_BYTES = 1 << 20
_CONVERT = (
    "Pickled weights (.bin, .pt) can run code and are never read. If you trust them, convert them"
    " once: load the model with transformers, save_pretrained(FOLDER), save the tokenizer there"
    " too, and name FOLDER."
)
_PICKLED = "has no safetensors weights, only pickled ones"
_OTHER_FORM = (
    "Take the checkpoint it was made from: config.json and *.safetensors, or a .gguf file."
)


@dataclass(frozen=True, slots=True)
class _Kind:
    """Recognised by a name that fits one of ``marks``, where there is no file ``unless``."""

    marks: tuple[str, ...]
    is_what: str
    hint: str
    unless: str = ""


_KINDS = (
    _Kind(
        ("model_index.json",),
        "is a diffusion pipeline (diffusers), which makes images",
        "unisono runs language models; diffusers runs this one.",
    ),
    _Kind(
        ("params.json", "consolidated*"),
        "is a model in its maker's own form (params.json, consolidated.*)",
        "Take the form for transformers, with config.json; on a hub it is often a repository of its"
        " own, such as one whose name ends in -hf.",
    ),
    _Kind(
        ("config_sentence_transformers.json", "modules.json"),
        "is a sentence-transformers model, which embeds texts",
        "If one of its folders is a language model with config.json, name that folder.",
    ),
    _Kind(("onnx", "*.onnx", "*.onnx_data", "*.ort"), "is a model in ONNX form", _OTHER_FORM),
    _Kind(("openvino_model.xml",), "is a model in OpenVINO form", _OTHER_FORM),
    _Kind(("*.engine",), "is a model built by TensorRT-LLM", _OTHER_FORM),
    _Kind(("*.mlmodel", "*.mlpackage"), "is a model in Core ML form", _OTHER_FORM),
    _Kind(("*.nemo",), "is a model in NeMo form", _OTHER_FORM),
    _Kind(("*.tflite", "*.task", "*.litertlm"), "is a model in LiteRT form", _OTHER_FORM),
    _Kind(
        (
            "*.distcp",
            ".metadata",
            "latest_checkpointed_iteration.txt",
            "zero_to_fp32.py",
            "global_step*",
        ),
        "is a checkpoint of distributed training, whose weights are in pieces",
        "Have the program that trained it put them together and save for transformers"
        " (save_pretrained), and name that folder.",
    ),
    _Kind(("pytorch_model*.bin", "model*.bin", "model*.pt"), _PICKLED, _CONVERT),
    _Kind(
        ("optimizer*", "scheduler.pt", "trainer_state.json", "training_args.bin", "rng_state*"),
        "is the state of a training run, without the model's weights",
        "Name the folder into which the trained model was saved.",
    ),
    _Kind(("*.bin", "*.pt", "*.pth", "*.ckpt"), _PICKLED, _CONVERT),
    _Kind(("tf_model.h5", "*.msgpack"), "is a model for TensorFlow or Flax", _OTHER_FORM),
    _Kind(
        ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "tekken.json"),
        "is a tokenizer without a model",
        "Put config.json and the *.safetensors of its model beside it.",
        unless="config.json",
    ),
    _Kind(("*.gguf",), "is a model as GGUF", "Fetch one of its .gguf files, and name that."),
    _Kind(
        ("models--*",),
        "is a hub's cache of models",
        "Name one by its id, org/name, or one of the folders models--*.",
    ),
    _Kind(("*.parquet", "*.arrow"), "is a data set", "Name a model."),
)
"""A folder that fits several is said to be the first of them."""


def is_model(names: Collection[str]) -> bool:
    """Returns whether files of these names are a checkpoint that may be read."""
    weights = [name for name in names if fnmatchcase(name, "*.safetensors*")]
    own = [name for name in weights if not name.startswith(("adapter_", "consolidated"))]
    return "config.json" in names and bool(own) and "model_index.json" not in names


def what_it_is(folder: Path) -> CheckpointError | None:
    """The error for a folder that is recognised as something else; None where it may be a model, or
    says nothing."""
    try:
        names = _names(folder)
        if is_model(names):
            return None
        if not names:
            return CheckpointError(
                f"{folder} is empty.",
                hint="Was the model stored elsewhere, or its disk not mounted?",
            )
        return _adapter(folder, names) or _nested(folder, names) or by_names(names, str(folder))
    except OSError as error:
        return CheckpointError(
            f"{folder} cannot be read: {error.strerror}.", hint="Check its permissions."
        )


def by_names(paths: Iterable[str], model: str) -> CheckpointError | None:
    """The same from the names of its files alone, those of sub-folders with ``/``."""
    names = {path.partition("/")[0] for path in paths}
    for kind in _KINDS:
        if kind.unless not in names and any(
            fnmatchcase(name, mark) for name in names for mark in kind.marks
        ):
            return CheckpointError(f"{model} {kind.is_what}.", hint=kind.hint)
    return None


def _names(folder: Path, wanted: Callable[[Path], bool] = lambda path: True) -> list[str]:
    names = []
    for path in folder.iterdir():
        if wanted(path):
            names.append(path.name)
        if len(names) == _MAX_ENTRIES:
            break
    return sorted(names)


def _adapter(folder: Path, names: Collection[str]) -> CheckpointError | None:
    if "adapter_config.json" not in names:
        return None
    base = read_json_object(folder / "adapter_config.json", _MAX_BYTES).get(
        "base_model_name_or_path"
    )
    return adapter_error(str(folder), base if isinstance(base, str) else "")


def adapter_error(model: str, base: str) -> CheckpointError:
    """Args:
    base: the model that it belongs to; empty where that is not known.
    """
    of, its_model = (f" of {base!r:.200}", f"{base!r:.200}") if base else ("", "its model")
    return CheckpointError(
        f"{model} is an adapter (LoRA){of}, not a model.",
        hint=f"Merge it once with {its_model} by peft, merge_and_unload() and"
        " save_pretrained(FOLDER), and name FOLDER.",
    )


def _nested(folder: Path, names: Collection[str]) -> CheckpointError | None:
    """Models one level down, where the folder itself has no configuration."""
    if "config.json" in names or "model_index.json" in names:
        return None
    inner = [name for name in _names(folder, Path.is_dir) if _may_run(_names(folder / name))]
    if not inner:
        return None
    first = folder / inner[0]
    if len(inner) == 1:
        return CheckpointError(f"{folder} holds a model one level down.", hint=f"Name {first}.")
    shown = ", ".join(inner[:_MAX_SHOWN]) + (", ..." if len(inner) > _MAX_SHOWN else "")
    return CheckpointError(
        f"{folder} holds {len(inner)} models: {shown}.", hint=f"Name one of them: {first}."
    )


def _may_run(names: Collection[str]) -> bool:
    return is_model(names) or any(name.endswith(".gguf") for name in names)
