"""Time of one small op, on the CPU and on the virtual device: ``python overhead.py``."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import unisono_virtual

NUM_CALLS, NUM_ROUNDS = 5_000, 5


def microseconds(function: Callable[[], object]) -> float:
    """Microseconds per call in the quickest of a few rounds."""
    rounds = []
    for _ in range(NUM_ROUNDS):
        started = time.perf_counter()
        for _ in range(NUM_CALLS):
            function()
        rounds.append(time.perf_counter() - started)
    return min(rounds) / NUM_CALLS * 1e6


def cases(device: str) -> dict[str, Callable[[], object]]:
    x, square = torch.ones(16, device=device), torch.ones(4, 4, device=device)
    weight = torch.ones(4, 4, device=device, requires_grad=True)
    return {
        "x + 1, 16 floats": lambda: x + 1,
        "x.mul_(1)": lambda: x.mul_(1),
        "4 x 4 product": lambda: square @ square,
        "the same, differentiable": lambda: square @ weight,
        "view": lambda: square.view(16),
        "softmax": lambda: x.softmax(-1),
    }


def main() -> None:
    torch.set_num_threads(1)
    unisono_virtual.install(chip="h200")
    host = cases("cpu")
    print(f"{'us a call':28}{'cpu':>8}{'virtual':>10}")
    for name, ours in cases("virtual").items():
        print(f"{name:28}{microseconds(host[name]):8.1f}{microseconds(ours):10.1f}")


if __name__ == "__main__":
    main()
