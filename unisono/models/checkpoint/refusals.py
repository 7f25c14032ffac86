"""Errors of a checkpoint whose tensors are not those of the model that its configuration says."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NoReturn

import torch

from unisono.core.errors import CheckpointError, UnsupportedModelError
from unisono.models.checkpoint.names import CheckpointNames

NUMBERS = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "F64": torch.float64,
}
"""Dtypes of weights that are not quantised, by their names in files."""
AGAIN = "The download may be incomplete: fetch the model again."
_QUANTIZED_PIECES = (
    *(".qweight", ".qzeros", ".g_idx", ".scales", ".weight_scale", ".weight_packed", ".absmax"),
    *(".q_weight", ".q_scale", ".q_perm", ".q_groups", ".SCB", ".weight_scale_inv", "_blocks"),
)


def check_complete(missing: Collection[str], names: CheckpointNames) -> None:
    """Raises CheckpointError: tensors that the model needs are missing."""
    if set(missing) == {"lm_head.weight"}:
        raise CheckpointError(
            f"The checkpoint has no {names.stored('lm_head.weight')}, which predicts tokens.",
            hint="It is of the base of a model, or of one that classifies: take the one that"
            " generates text, or let this one embed (--task embed). If its"
            ' head is the embedding, "tie_word_embeddings" in config.json'
            " must be true.",
        )
    if missing:
        first = names.stored(min(missing))
        raise CheckpointError(
            f"The checkpoint lacks {len(missing)} tensors, such as {first}.", hint=AGAIN
        )


def check_shape(name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Raises CheckpointError: another shape than the configuration says."""
    if found != expected:
        raise CheckpointError(
            f"{name} has shape {list(found)}, the configuration says {list(expected)}.",
            hint="config.json and the weights are not of the same model.",
        )


def check_numbers(name: str, dtype: str | torch.dtype) -> None:
    """Raises UnsupportedModelError: a dtype, by its name in files or torch's, that is not read."""
    if dtype not in NUMBERS and dtype not in NUMBERS.values():
        raise UnsupportedModelError(
            f"{name} is stored as {str(dtype).removeprefix('torch.')}.",
            hint="Use the checkpoint in bfloat16, float16 or float32.",
        )


def refuse_unexpected(name: str, path: Path, *, already: bool) -> NoReturn:
    """Raises CheckpointError: a tensor of an unknown name, or one that was there ``already``."""
    if ".lora_" in name or ".base_layer." in name:
        raise CheckpointError(
            f"{path} holds an adapter (LoRA) beside the weights: {name}.",
            hint="Merge it once with peft, merge_and_unload() and save_pretrained(FOLDER), and name"
            " FOLDER.",
        )
    if name.endswith(_QUANTIZED_PIECES) and not already:
        raise CheckpointError(
            f"{path} holds quantised weights ({name}), of which config.json states nothing or"
            " something else.",
            hint="Fetch the whole folder again: quantization_config, in the config.json that the"
            " program wrote which quantised them, says how to read them.",
        )
    what = "holds twice" if already else "has a tensor that the configuration does not know:"
    raise CheckpointError(
        f"{path} {what} {name}.", hint="config.json and the weights are not of the same model."
    )
