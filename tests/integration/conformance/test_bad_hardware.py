"""A device that is bad in one way gets one clear line, and the rest of the kit goes on."""

from __future__ import annotations

import pytest

from unisono.conformance import Options, Result, Run, check_device
from unisono.core.errors import ConfigError, DeviceNotFoundError

FAKES = "tests.integration.conformance.fakes"
CHECKS = ("runtime.identity", "runtime.random", "ops.silu_mul", "ops.embedding")
ROUND = ("ops.table", "ops.silu_mul", "ops.rms_norm", "ops.embedding", "training")


def run(name: str, *only: str, timeout: float = 600.0) -> tuple[Run, dict[str, Result]]:
    device = name if ":" in name else f"{FAKES}:{name}"
    done = check_device(Options(device=device, quick=True, only=only or CHECKS, timeout=timeout))
    return done, {result.check: result for result in done.results}


def test_a_good_one_passes() -> None:
    done, results = run("Good")
    assert done.passed
    assert list(results) == ["runtime.open", *CHECKS]
    assert done.about["hardware"] == "good"


@pytest.mark.parametrize(
    ("name", "check", "words"),
    [
        ("CountsTwo", "runtime.identity", "says that there are 2 devices, but device 1 fails"),
        ("NoBytes", "runtime.identity", "reports 0 bytes free of 0"),
        ("SaysNothing", "runtime.random", "this build has no generator"),
        ("OpRaises", "ops.silu_mul", "raises RuntimeError: kernel failed"),
        ("WrongShape", "ops.silu_mul", "returns shape [1, 3, 17] instead of [3, 17]"),
        ("WrongDtype", "ops.silu_mul", "returns torch.float64 instead of torch.float32"),
        ("WrongDevice", "ops.silu_mul", "the result lies on meta instead of cpu"),
        ("NoTensor", "ops.silu_mul", "returns NoneType instead of a tensor"),
    ],
)
def test_one_clear_line(name: str, check: str, words: str) -> None:
    done, results = run(name)
    assert not done.passed
    assert results[check].outcome == "failed"
    assert words in results[check].detail
    assert results[check].failures[0].script
    assert results["ops.embedding"].outcome == "passed"


@pytest.mark.parametrize(
    ("name", "failing", "words"),
    [
        ("ClearsItsInput", "ops.silu_mul", "changes its input 1 (gate_up)"),
        ("NormsInPlace", "ops.rms_norm", "changes its input 1 (x)"),
        ("WithoutGradient", "training.ops", "is not differentiable"),
        ("WithoutGradient", "training.step", "raises"),
        ("RefusesGradient", "training.ops", "raises RuntimeError: only inference"),
        ("ForgetsTheMean", "training.ops", "entries are wrong"),
        ("ForgetsTheMean", "training.step", "gradient"),
        (
            "Misspelt",
            "ops.table",
            "silu_mull is no op of the table, and nothing calls it: is silu_",
        ),
    ],
)
def test_ops_keep_their_contract(name: str, failing: str, words: str) -> None:
    done, results = run(name, *ROUND)
    assert not done.passed
    assert results[failing].outcome == "failed", results[failing]
    assert words in results[failing].detail
    assert results["ops.embedding"].outcome == "passed"


def test_a_card_says_what_brings_the_device_and_its_ops() -> None:
    done, _ = run("Misspelt", "ops.embedding")
    versions = done.about["versions"]
    assert versions["distributed_backend"] == "gloo"
    assert versions["overridden_ops"] == "none: all portable"
    done = check_device(Options(device="cpu", quick=True, only=("ops.table",)))
    assert done.about["versions"]["overridden_ops"].startswith("argmax, attention")
    assert "overrides argmax, attention" in done.results[-1].detail
    done = check_device(Options(device="virtual", quick=True, only=("ops.table",)))
    assert "unisono-virtual" in done.about["versions"]


@pytest.mark.parametrize(
    ("name", "outcome", "words"),
    [
        ("Hangs", "hang", "s in case float32 [3, 34] at fakes.py"),
        ("Dies", "crashed", "the process died (SIGSEGV) in case float32 [3, 34] at fakes.py"),
    ],
)
def test_what_hangs_or_dies_is_named_and_passed_by(name: str, outcome: str, words: str) -> None:
    done, results = run(name, timeout=10.0)
    assert not done.passed
    assert results["ops.silu_mul"].outcome == outcome
    assert words in results["ops.silu_mul"].detail
    assert results["ops.embedding"].outcome == "passed"


@pytest.mark.parametrize(
    ("name", "outcome", "words"),
    [
        ("HangsAtOpening", "hang", "no end"),
        ("DiesAtOpening", "crashed", "the process died (exit code 7)"),
        (
            "tests.integration.conformance.broken_plugin:Any",
            "failed",
            "its plugin cannot be loaded (ImportError: libbroken.so.1",
        ),
        ("tests.integration.conformance.fakes:Missing", "failed", "has no attribute 'Missing'"),
    ],
)
def test_a_device_that_cannot_be_opened(name: str, outcome: str, words: str) -> None:
    done, results = run(name, timeout=3.0 if outcome == "hang" else 600.0)
    assert not done.passed
    assert results["runtime.open"].outcome == outcome
    assert words in results["runtime.open"].detail
    assert all(r.outcome == "not run" for name, r in results.items() if name != "runtime.open")


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(DeviceNotFoundError, match="is not a known device"):
        check_device(Options(device="no-such-device"))
    with pytest.raises(ConfigError, match="neither a group nor a check"):
        check_device(Options(device="cpu", only=("ops.no_such_check",)))


def test_every_form_of_the_kernels_is_checked() -> None:
    done, results = run("TwoKernels", "runtime.random", "ops.silu_mul")
    assert not done.passed
    names = ["ops.silu_mul", "ops.silu_mul@older", "ops.silu_mul@old"]
    assert list(results) == ["runtime.open", "runtime.random", *names]
    assert [results[name].outcome for name in names] == ["passed", "passed", "failed"]
    assert [name for name, _ in done.plan] == ["runtime.random", *names]
    assert "'FAKE_KERNELS': 'old'" in results["ops.silu_mul@old"].failures[0].script


def test_a_form_that_was_asked_for_is_checked_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_KERNELS", "old")
    done, results = run("TwoKernels", "ops.silu_mul")
    assert list(results) == ["runtime.open", "ops.silu_mul"]
    assert not done.passed
