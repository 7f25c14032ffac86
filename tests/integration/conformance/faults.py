"""Planted faults against the checks that must find them.

    python -m tests.integration.conformance.faults [FAULT ...]

runs the group concerned on the virtual accelerator for each fault, and prints which checks fail.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

MUST_FIND = {
    "all_gather_order_swapped": "collectives.ops",
    "all_reduce_misses_rank": "collectives.ops",
    "argmax_last_of_equals": "ops.argmax",
    "argmax_wrong_beyond_65536": "ops.argmax",
    "bf16_truncates": "runtime.casts",
    "cumsum_low_precision": "ops.reductions",
    "dtype_int64_truncated": "runtime.integers",
    "embedding_wrong_last_row": "ops.embedding",
    "empty_tensor_crash": "ops.linear",
    "event_elapsed_zero": "runtime.event_times",
    "event_sync_noop": "runtime.async_copies",
    "exp_flushes_small": "ops.functions",
    "gemm_fp16_accumulation": "ops.linear_sums",
    "gemm_last_column_dropped": "ops.linear",
    "gemm_last_row_dropped": "ops.linear",
    "gemm_wrong_tile": "ops.linear",
    "gemv_m1_wrong": "ops.linear",
    "generator_ignores_seed": "runtime.random",
    "grad_wrong": "training.step",
    "hang": "ops.sorting",
    "host_fallback_silent": "runtime.residence",
    "index_copy_block_boundary": "ops.kv_write",
    "index_copy_drops_last": "ops.kv_write",
    "index_copy_neighbour_overwritten": "ops.kv_write",
    "index_select_wraps_large": "ops.indexing",
    "inf_clamped": "runtime.nan",
    "large_tensor_tail": "ops.large",
    "late_nonblocking_copy": "runtime.async_copies",
    "memory_leak": "runtime.leaks",
    "memory_misreported": "runtime.memory",
    "nan_swallowed": "ops.linear_nan",
    "noncontiguous_read_as_contiguous": "ops.layouts",
    "oom_not_recovered": "runtime.out_of_memory",
    "oom_wrong_error": "runtime.out_of_memory",
    "op_raises": "ops.reductions",
    "pinned_lies": "runtime.pinned",
    "rng_state_not_restored": "runtime.random_state",
    "rope_wrong_position": "ops.rope_angles",
    "save_load_corrupts": "runtime.save_load",
    "slow_drift": "soak.drift",
    "softmax_no_max_subtraction": "ops.softmax",
    "sort_unstable_wrong": "ops.sorting",
    "tf32_silently": "ops.matmul_exact",
    "tied_weights_untied": "runtime.tied_weights",
    "topk_unsorted": "ops.sorting",
    "wait_event_ignored": "runtime.streams",
    "wrong_dtype_result": "ops.add_rms_norm",
    "wrong_shape_result": "ops.rms_norm",
}
ALLOWED = {
    "index_copy_first_duplicate": "torch leaves open which of several writes to a row stays",
}
"""Not found on purpose."""


Found = dict[str, dict[str, Any]]


def found_by(fault: str, only: str, *, timeout: int = 10) -> Found:
    """Checks that fail with the fault planted: name -> result."""
    with tempfile.TemporaryDirectory() as folder:
        card = Path(folder) / "card.json"
        command = [sys.executable, "-m", "unisono", "check", "virtual", "--quick"]
        command += [f"--only={only}", f"--json={card}", f"--scripts={folder}"]
        command += [f"--timeout={timeout}"]
        subprocess.run(
            command,
            env={**os.environ, "UNISONO_VIRTUAL_FAULTS": fault},
            stdout=subprocess.DEVNULL,
            check=False,
        )
        results = json.loads(card.read_text("utf-8"))["results"]
    bad = ("failed", "error", "hang", "crashed")
    return {result["check"]: result for result in results if result["outcome"] in bad}


def shows(script: str, fault: str) -> tuple[int, int]:
    """Exit codes of a reproduction with the fault planted, and without."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "script.py"
        path.write_text(script, encoding="utf-8")
        codes = []
        for planted in (fault, ""):
            environment = {**os.environ, "UNISONO_VIRTUAL_FAULTS": planted}
            command = [sys.executable, str(path)]
            if "torchrun" in script:
                command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
                command += [str(path)]
            try:
                done = subprocess.run(
                    command, env=environment, capture_output=True, timeout=120, check=False
                )
                codes.append(done.returncode)
            except subprocess.TimeoutExpired:
                codes.append(-1)
    return codes[0], codes[1]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("fault", nargs="*")
    parser.add_argument("--alone", action="store_true", help="the check that must find it, alone")
    parser.add_argument("--scripts", action="store_true", help="run the reproductions too")
    parser.add_argument("--timeout", type=int, default=10)
    options = parser.parse_args()
    faults = options.fault or sorted(MUST_FIND)
    began = time.monotonic()

    def one(fault: str) -> Found:
        check = MUST_FIND[fault]
        only = check if options.alone else check.partition(".")[0]
        return found_by(fault, only, timeout=options.timeout)

    missed = []
    with ThreadPoolExecutor(max_workers=2) as workers:
        for fault, found in zip(faults, workers.map(one, faults), strict=True):
            wanted = MUST_FIND[fault]
            if wanted not in found:
                missed.append(fault)
            sign = "found " if wanted in found else "MISSED"
            others = ", ".join(name for name in found if name != wanted)
            print(f"{sign} {fault:34} {wanted:24} also: {others}", flush=True)
            failures = found.get(wanted, {}).get("failures") or [{}]
            first = failures[0]
            print(f"         {first.get('case')}: {first.get('detail')}")
            script = first.get("script") or ""
            alone = "needs unisono" if "needs unisono" in script else "needs torch alone"
            codes = shows(script, fault) if options.scripts and script else ("not", "run")
            print(f"         {first.get('culprit')}; its program {alone}; exit codes {codes}")
    print(f"{len(faults) - len(missed)} of {len(faults)} found, {time.monotonic() - began:.0f} s")
    sys.exit(f"missed: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
