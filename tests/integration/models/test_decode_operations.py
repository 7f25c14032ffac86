"""A decode step on a device: few torch operations, as many for 64 rows as for one, and none that
waits for the device."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests import checkpoints
from tests.families import CASES
from tests.operations import WaitsForDevice, counted
from tests.passes import logits
from unisono.core import Batch, BatchRow, SamplingParams
from unisono.engine.memory_plan import layer_caches
from unisono.engine.model_runner import ModelRunner
from unisono.engine.pages import PageLayout
from unisono.hardware import Facts, HostHardware, MemoryInfo
from unisono.models import LoadedModel, load_model
from unisono.models.layers.moe import Experts

BLOCK_SIZE, LONGEST = 4, 28
DENSE, EXPERTS = 45, 70
"""Operations a layer, from the first layer to the last: what is in front and behind does not count.
An index that chooses keys for attention is a small one of its own, and comes with experts. In
16 bits each cast is an operation, and counts."""
WHOLE = [name for name, case in CASES.items() if case.whole]


class Reference(HostHardware):
    """The portable ops on the host: what a device runs that has none of its own."""

    facts = Facts(name="reference", device_type="cpu", dtypes=("float32", "bfloat16", "float16"))

    def memory(self) -> MemoryInfo:
        return MemoryInfo(8 << 30, 16 << 30)


def decode(loaded: LoadedModel, num_rows: int) -> Counter[str]:
    """Operations of all layers in a step of rows with contexts of different lengths, one token
    each."""
    hardware = Reference()
    pages = PageLayout.of(layer_caches(loaded.model, loaded.dtype, "auto"), BLOCK_SIZE)
    width = LONGEST // BLOCK_SIZE
    per_row = width * len(pages.groups)
    runner = ModelRunner(loaded, hardware, pages=pages, num_blocks=1 + num_rows * per_row)
    rows = []
    for i in range(num_rows):
        first, length = 1 + i * per_row, 5 + i * 7 % (LONGEST - 5)
        starts = range(first, first + per_row, width)
        rows.append(
            BatchRow(
                request_id=str(i),
                token_ids=[3 + i],
                start=length - 1,
                block_tables=[list(range(start, start + width)) for start in starts],
                num_logits=1,
                params=SamplingParams(),
                seed=0,
                num_prompt_tokens=length,
                all_token_ids=[3 + i] * length,
                rope_length=loaded.model.rope_length(length, length),
            )
        )
    with torch.inference_mode():
        token_ids, step = runner.prepare(Batch(rows))
        marks = []
        first, last = loaded.model.layers[0], loaded.model.layers[-1]
        with (
            counted() as counts,
            first.register_forward_pre_hook(lambda *_: marks.append(counts.copy())),
            last.register_forward_hook(lambda *_: marks.append(counts.copy())),
        ):
            loaded.model.logits(loaded.model(token_ids, step))
    return marks[1] - marks[0]


@pytest.fixture(scope="module", params=WHOLE)
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Any, Path]:
    case = CASES[request.param]
    model = checkpoints.oracle(case.model_type, **case.options)
    return request.param, model, checkpoints.save(model, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_decode_step(case: tuple[str, Any, Path], dtype: str) -> None:
    _, _, folder = case
    loaded = load_model(folder, Reference(), dtype=dtype)
    most = EXPERTS if has_experts(loaded.model) else DENSE
    most *= len(loaded.model.layers)
    alone, some, many = (decode(loaded, num_rows) for num_rows in (1, 16, 64))
    assert some == many
    assert many.total() <= most, many
    assert alone.total() <= most, alone


def has_experts(model: nn.Module) -> bool:
    return any(isinstance(module, Experts) for module in model.modules())


def test_logits(case: tuple[str, Any, Path]) -> None:
    _, model, folder = case
    (prompt,) = checkpoints.prompts(60)
    ours = logits(load_model(folder, Reference(), dtype="float32"), Reference(), prompt)
    with torch.no_grad():
        theirs = model(torch.tensor([prompt])).logits[0]
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


def test_a_request_to_wait_is_refused() -> None:
    x = torch.arange(3)
    for wait in (lambda: x.tolist(), lambda: int(x[0]), lambda: x[x > 1], lambda: x.nonzero()):
        with pytest.raises(WaitsForDevice), counted():
            wait()
