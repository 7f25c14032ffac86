"""Copies between host and device in decode steps of models, and answers to prompts, as JSON.

For each folder: for each number of rows, [to the device, to the host]; then the answers. Copies
that torch makes of lists, and questions to the device, count too.

    python step_copies.py PROMPTS FOLDER...
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.engines import answers, engine
from unisono.core import Request, SamplingParams

ROWS = (1, 8)
QUESTIONS = {"item", "_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select"}
PLAIN = SamplingParams(max_tokens=9, temperature=0.0, ignore_eos=True)
VARIED = (
    PLAIN,
    SamplingParams(max_tokens=9, temperature=0.7, top_p=0.9, top_k=5, ignore_eos=True),
    SamplingParams(max_tokens=9, temperature=1.3, min_p=0.1, logprobs=2, ignore_eos=True),
    SamplingParams(max_tokens=9, min_tokens=8, temperature=1.0, repetition_penalty=1.2, logprobs=0),
    SamplingParams(
        max_tokens=9,
        ignore_eos=True,
        frequency_penalty=0.5,
        logit_bias={5: 2.0},
        allowed_token_ids=tuple(range(3, 60)),
    ),
)


class Copies(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.to_device = self.to_host = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = on_host((args, kwargs))
        asks = func.overloadpacket.__name__ in QUESTIONS or on_host(out) == {True}
        if asks and False in given:
            self.to_host += 1
        elif on_host(out) == {False} and True in given:
            self.to_device += 1
        return out


def on_host(values: Any) -> set[bool]:
    """True where the tensors with anything in them are on the host."""
    return {leaf.is_cpu for leaf in tree_leaves(values) if isinstance(leaf, Tensor) and leaf.dim()}


@contextmanager
def counted() -> Iterator[Copies]:
    """Lists that become tensors are copied out of the mode's sight."""
    original = torch.tensor
    with Copies() as copies:

        def tensor(data: Any, *args: Any, device: Any = None, **options: Any) -> Tensor:
            made = original(data, *args, device=device, **options)
            copies.to_device += not made.is_cpu
            return made

        torch.tensor = tensor  # type: ignore[assignment]
        try:
            yield copies
        finally:
            torch.tensor = original


def decode(folder: Path, num_rows: int, params: tuple[SamplingParams, ...]) -> tuple[int, int]:
    """The most copies of any of the steps, each way."""
    one = engine(folder, device="virtual")
    for i in range(num_rows):
        prompt = tuple(10 + (i * 7 + k) % 50 for k in range(5 + 3 * i))
        one.add(Request(id=str(i), prompt_token_ids=prompt, params=params[i % len(params)], seed=i))
    while one.stats().prompt_tokens < sum(5 + 3 * i for i in range(num_rows)):
        one.step()
    found = []
    while one.stats().num_running == num_rows:
        with counted() as copies:
            outputs = one.step()
        assert len(outputs) == num_rows
        assert all(output.error is None for output in outputs)
        found.append((copies.to_device, copies.to_host))
    assert len(found) > 5
    return max(up for up, _ in found), max(down for _, down in found)


def counts(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        f"{kind} {rows}": decode(folder, rows, params)
        for kind, params in (("greedy", (PLAIN,)), ("varied", VARIED))
        for rows in ROWS
    }


if __name__ == "__main__":
    prompts = json.loads(sys.argv[1])
    found = {
        folder: [counts(Path(folder)), answers(engine(Path(folder), device="virtual"), prompts)]
        for folder in sys.argv[2:]
    }
    print(json.dumps(found))
