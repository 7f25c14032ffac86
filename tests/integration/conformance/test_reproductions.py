"""Programs that show a fault: written down, run, and believed only where they fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from unisono.conformance.reproductions.op_call import OpCall
from unisono.conformance.reproductions.op_script import write_script
from unisono.conformance.reproductions.recipes import STYLES, recipe_of
from unisono.conformance.reproductions.scripts import DeviceText, expect, probe_script

HOST = DeviceText("cpu", ())


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = folder / "script.py"
    path.write_text(script, encoding="utf-8")
    return subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False)


def holds(device: torch.device) -> None:
    """Nothing is wrong."""
    x = torch.ones(3, device=device)
    expect(bool((x + x == 2).all()), "1 + 1 is not 2")


def fails(device: torch.device) -> None:
    """Something is."""
    expect(torch.ones(1, device=device).item() == 2, "1 is not 2")


def test_a_probe_is_its_own_program(tmp_path: Path) -> None:
    assert run(probe_script(HOST, "fine", holds), tmp_path).returncode == 0
    done = run(probe_script(HOST, "wrong", fails), tmp_path)
    assert done.returncode == 1
    assert "1 is not 2" in done.stderr


def test_every_probe_runs_alone_on_the_host(tmp_path: Path) -> None:
    from unisono.conformance.checks import training
    from unisono.conformance.checks.runtime import arithmetic as runtime_arithmetic
    from unisono.conformance.checks.runtime import copies as runtime_copies
    from unisono.conformance.checks.runtime import identity as runtime_identity
    from unisono.conformance.checks.runtime import modules as runtime_modules
    from unisono.conformance.checks.runtime import random as runtime_random

    probes = [
        runtime_arithmetic.nearest_even,
        runtime_copies.strided_copies,
        runtime_identity.results_stay,
        runtime_modules.saved_and_loaded,
        runtime_random.generator_state,
        training.casts_really,
    ]
    for probe in probes:
        done = run(probe_script(HOST, "on the host", probe), tmp_path)
        assert done.returncode == 0, (probe.__name__, done.stderr)


def test_a_failing_call_is_written_down(tmp_path: Path) -> None:
    x = torch.randn(3, 4)
    call = OpCall.of(torch.ops.aten.mm.default, (x, x), {})
    assert call is not None
    script = write_script(call, HOST, raises=True)
    done = run(script, tmp_path)
    assert done.returncode == 1
    assert "cannot be multiplied" in done.stderr


def test_a_sound_call_gives_no_program() -> None:
    x = torch.randn(3, 4)
    call = OpCall.of(torch.ops.aten.add.Tensor, (x, x), {})
    assert call is not None
    assert write_script(call, HOST) == ""


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(5, 6).T,
        torch.randn(4, 8)[:, ::2],
        torch.arange(12).view(3, 4),
        torch.tensor([True, False]),
        torch.empty(0, 3),
        torch.tensor(3.5),
        torch.tensor([[1.0, float("nan")], [float("-inf"), 2.0]]),
    ],
    ids=["transposed", "strided", "integers", "booleans", "empty", "scalar", "special"],
)
def test_inputs_are_made_anew(tensor: torch.Tensor) -> None:
    for style in STYLES:
        recipe = recipe_of(tensor, style)
        assert recipe is not None
        made = recipe.laid_out(recipe.base())
        assert (made.shape, made.stride(), made.dtype) == (
            *(tensor.shape, tensor.stride()),
            tensor.dtype,
        )
        if tensor.is_floating_point():
            assert torch.equal(made.isfinite(), tensor.isfinite())
        if style == "stated":
            same = (made == tensor) | (made.isnan() & tensor.isnan())
            assert bool(same.all()) if tensor.is_floating_point() else torch.equal(made, tensor)
        assert recipe.text("place").startswith("place(")


def test_tolerances_hold_on_the_host() -> None:
    """The host against itself in float64: no sound op is named as a culprit."""
    from unisono.conformance.reproductions.locating import locate

    def work() -> None:
        torch.manual_seed(0)
        x = torch.randn(17, 33).requires_grad_()
        y = torch.nn.functional.silu(x @ x.T).softmax(-1).cumsum(-1)
        z = torch.nn.functional.layer_norm(y, (17,)) + y.exp().log() + x.sum(-1).sin()
        (z.sort().values * torch.randn(17, 17)).sum().backward()

    assert locate(work, HOST) is None
