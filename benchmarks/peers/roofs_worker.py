"""Measures the machine: ``roofs_worker.py THREADS``, reads and matrix products of plain torch."""

from __future__ import annotations

import sys

import torch
from worker import serve

from unisono.cli.benching.limits import matmul_flops_per_s, memory_read_bytes_per_s
from unisono.hardware import find_hardware


class Roofs:
    def __init__(self) -> None:
        self.hardware = find_hardware("cpu")

    def describe(self) -> dict[str, str]:
        return {"torch": torch.__version__, "processor": self.hardware.describe(0)}

    def roofs(self) -> dict[str, float]:
        """Median bytes/s of reads of 512 MiB, and floating point operations/s in bfloat16."""
        return {
            "read": memory_read_bytes_per_s(self.hardware)["median"],
            "matmul": matmul_flops_per_s(self.hardware, "bfloat16"),
        }


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    serve(Roofs())
