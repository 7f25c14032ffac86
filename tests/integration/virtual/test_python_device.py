"""The device in Python, where there is no compiler: a model answers, a module trains."""

from __future__ import annotations

import json
from pathlib import Path

from unisono_virtual.python_device import HOLES

from tests.integration.virtual.children import NO_COMPILER, run

PROGRAM = """
import copy, json, torch, unisono_virtual
from torch import nn
from unisono import LLM, SamplingParams
from unisono.hardware import find_hardware
torch.set_num_threads(1)

def answers(device):
    llm = LLM(device=device, dtype="float32", kv_memory=64 << 20)
    params = SamplingParams(max_tokens=8, temperature=0.0, ignore_eos=True)
    return [out.token_ids for out in llm.generate(["The elevator is stuck."], params)]

def trained(module):
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    device = next(module.parameters()).device
    for _ in range(3):
        x = torch.arange(6, device=device).view(2, 3)
        loss = nn.functional.cross_entropy(module(x).flatten(0, 1), x.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [p.detach().cpu() for p in module.parameters()]

def close(ours, host):  # Adam divides by small gradients: rounding grows, to 1.5e-6 in 400 seeds
    return torch.allclose(ours, host, atol=2e-6)

torch.manual_seed(0)
same = answers("cpu") == answers("virtual")
embedding, head = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
head.weight = embedding.weight
host = nn.Sequential(embedding, nn.LayerNorm(4), nn.SiLU(), head)
ours = copy.deepcopy(host).to("virtual")
tied = ours[0].weight is ours[3].weight
as_host = all(map(close, trained(ours), trained(host)))
try:
    torch.ones(2, device="virtual") + torch.ones(2)
    mixed = "accepted"
except RuntimeError as error:
    mixed = str(error)
hardware = find_hardware("virtual")
print(json.dumps({
    "same": same, "tied": tied, "as_host": as_host, "mixed": mixed,
    "compiled": unisono_virtual.installed().compiled,
    "prediction": hardware.predicted_seconds(), "title": type(hardware).describe(0),
}))
"""


def test_a_model_and_a_training_step(tmp_path: Path) -> None:
    told = json.loads(run(PROGRAM, XDG_CACHE_HOME=str(tmp_path), **NO_COMPILER))
    assert told["compiled"] is False
    assert told["same"]
    assert told["tied"]
    assert told["as_host"]
    assert "same device" in told["mixed"]
    assert told["prediction"] is None
    assert f"lacking {len(HOLES)} things" in told["title"]


def test_faults_need_the_compiled_device(tmp_path: Path) -> None:
    program = """
import unisono_virtual
from unisono.core.errors import HardwareError
try:
    unisono_virtual.install(faults=["hang"])
except HardwareError as error:
    print(error)
"""
    told = run(program, XDG_CACHE_HOME=str(tmp_path), **NO_COMPILER)
    assert "compiled device alone" in told


def test_the_readme_names_the_holes() -> None:
    import unisono_virtual

    readme = Path(unisono_virtual.__file__).parents[1] / "README.md"
    text = " ".join(readme.read_text("utf-8").split())
    assert [hole for hole in HOLES if hole not in text] == []
