"""Two processes on this kind of device: collectives, and one model on both."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from textwrap import dedent
from typing import Any

import torch

from unisono.conformance.checks.model import (
    checkpoint,
    engine_dtype,
    judge,
    prompt,
    serve,
    truths,
)
from unisono.conformance.context import Context, NotApplicable, Refused
from unisono.conformance.expected.comparing import Mismatch
from unisono.conformance.registry import check
from unisono.conformance.reproductions import collective_probes
from unisono.conformance.reproductions.scripts import expect
from unisono.conformance.results import Figure
from unisono.conformance.tiny_model import SMALL, WINDOWED
from unisono.hardware.base import HostHardware

_SIZE = 2


def _need_two(context: Context) -> None:
    hardware = context.hardware
    if isinstance(hardware, HostHardware):
        return
    if type(hardware).count() - hardware.index < _SIZE:
        raise NotApplicable("two processes need two devices")


@check(
    "collectives.ops",
    "all_reduce, all_gather, broadcast, reduce_scatter between two processes",
    covers=("all_reduce", "all_gather"),
    seconds=120,
)
def collectives(context: Context) -> None:
    _need_two(context)
    with tempfile.TemporaryDirectory() as folder, _ranks(context, folder) as processes:
        outputs = [process.communicate()[0].decode() for process in processes]
    lines = [
        {**json.loads(line), "rank": rank}
        for rank, output in enumerate(outputs)
        for line in output.splitlines()
    ]
    cases = dict.fromkeys(line["case"] for line in lines)
    if len(cases) < 2:
        raise Mismatch(f"the processes end with {[p.returncode for p in processes]}")
    for case in cases:
        _judge_case(context, case, [line for line in lines if line["case"] == case])


def _judge_case(context: Context, case: str, said: list[dict[str, Any]]) -> None:
    rates = [line["bytes_per_s"] for line in said if "bytes_per_s" in line]
    if rates:
        context.figures.append(
            Figure(name="all_reduce, 2 ranks", value=min(rates) / 1e9, unit="GB/s")
        )
        return
    context.script = _script(context, case) if case in collective_probes.PROBES else ""
    with context.case(case):
        wrong = [line for line in said if line["wrong"]]
        if wrong and all(line.get("refused") for line in wrong):
            raise Refused(wrong[0]["wrong"])
        if wrong:
            raise Mismatch("; ".join(f"rank {line['rank']}: {line['wrong']}" for line in wrong))
        if len(said) != _SIZE:
            raise Mismatch(f"{_SIZE - len(said)} of {_SIZE} processes did not come to its end")
    context.script = ""


@contextlib.contextmanager
def _ranks(context: Context, folder: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    command = [sys.executable, "-m", "unisono.conformance.rank", f"--folder={folder}"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // _SIZE))}
    processes = [
        subprocess.Popen(
            [*command, f"--device={context.spec}", f"--rank={rank}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=environment,
        )
        for rank in range(_SIZE)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            process.wait()


def _script(context: Context, name: str) -> str:
    """The probe between two processes, for torchrun."""
    about, backend = context.describe_device(), context.hardware.facts.distributed_backend
    kind = context.device.type if backend else "cpu"
    sources = [expect, getattr(collective_probes, name)]
    body = "\n\n".join(dedent(inspect.getsource(source)) for source in sources)
    title = f"{name}. Run with: torchrun --nproc-per-node {_SIZE} FILE"
    header = about.header(title).rpartition("\ndevice = ")[0]
    where = '"cpu"' if kind == "cpu" else f'f"{kind}:{{rank}}"'
    return (
        f"{header}\nimport torch.distributed as dist\n\n\n{body}\n\n"
        f'dist.init_process_group("{backend or "gloo"}")\n'
        "rank = dist.get_rank()\n"
        f"{name}(torch.device({where}), rank, dist.get_world_size())\n"
        "dist.destroy_process_group()\n"
    )


@check("collectives.tensor_parallel", "a model on two processes answers as one", seconds=120)
def tensor_parallel(context: Context) -> None:
    _need_two(context)
    lengths = (1, 17, 33)
    prompts = [prompt(length) for length in lengths]
    for words, shape in (("tied embeddings", SMALL), ("a sliding window", WINDOWED)):
        wanted = truths(shape, engine_dtype(context), lengths)
        with checkpoint(shape) as folder, context.case(words):
            engine = None
            try:
                served = judge(
                    context,
                    lambda f: serve(context, f, prompts, tensor_parallel=_SIZE),
                    wanted,
                    lengths,
                    given=(folder,),
                )
                engine = served.engine
            finally:
                if engine is not None:
                    engine.close()
