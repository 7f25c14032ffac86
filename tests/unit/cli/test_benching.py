"""The figures of ``unisono bench``: what a prefill is compared with, and what people read of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from unisono.cli.benching import limits
from unisono.cli.benching.report import print_tables
from unisono.engine.stats import EngineInfo


class OwnKernels:
    """A device that knows the rate of its own products, in some formats."""

    def products_per_s(self, weights: str, dtype: str) -> float | None:
        return {("int4-g32", "bfloat16"): 7e11, ("auto", "bfloat16"): 5e11}.get((weights, dtype))


def info(weight_format: str, dtype: str = "bfloat16") -> EngineInfo:
    return EngineInfo(
        model_type="llama",
        dtype=dtype,
        device="cpu",
        max_model_len=2048,
        vocab_size=512,
        num_parameters=10**6,
        weight_bytes=2 * 10**6,
        step_weight_bytes=2 * 10**6,
        block_size=16,
        num_blocks=64,
        kv_bytes=1 << 20,
        activation_bytes=1 << 20,
        kv_dtype=dtype,
        weight_format=weight_format,
    )


@pytest.mark.parametrize(
    ("weight_format", "dtype", "expected"),
    [
        ("int4-g32", "bfloat16", (7e11, "int4-g32")),
        ("auto", "bfloat16", (5e11, "bfloat16")),
        ("F8_E4M3", "bfloat16", (3e11, "bfloat16")),
        ("auto", "float32", (3e11, "float32")),
    ],
)
def test_a_rate_comes_with_what_was_multiplied(
    monkeypatch: pytest.MonkeyPatch, weight_format: str, dtype: str, expected: tuple[float, str]
) -> None:
    asked = []
    monkeypatch.setattr(limits, "matmul_flops_per_s", lambda _, dtype: asked.append(dtype) or 3e11)
    hardware: Any = OwnKernels()
    assert limits.products_per_s(hardware, info(weight_format, dtype)) == expected
    assert asked == ([dtype] if expected[0] == 3e11 else [])


def test_people_read_what_was_multiplied(capsys: pytest.CaptureFixture[str]) -> None:
    """Weights that no kernel multiplies as they are held are no roof: torch's product is."""
    print_tables(result(info("F8_E4M3"), products_per_s=3e11, products_of="bfloat16"))
    shown = " ".join(capsys.readouterr().out.split())
    assert "bfloat16, weights F8_E4M3" in shown
    assert "reads 32.0 GB/s, multiplies 0.3 TFLOP/s (bfloat16)" in shown


def result(engine: EngineInfo, **roofs: Any) -> dict[str, Any]:
    return {
        "model": "m",
        "engine": asdict(engine),
        "device": "a processor",
        "environment": {"torch": "2.8"},
        "workload": {"num_prompt_tokens": 16, "num_generated_tokens": 4, "repeat": 1},
        "roofs": {"memory_read_bytes_per_s": 32e9, **roofs},
        "fallbacks": {},
        "prediction_note": "",
        "batches": [
            {
                "batch": 2,
                "first_token_s": 0.1,
                "prefill_tokens_per_s": 320.0,
                "compute_roof_share": 0.5,
            }
        ],
    }
