"""From files to weights on a device: values, dtypes, memory, and the seams for a hardware."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from tests import checkpoints
from tests.engines import answers, engine, request, run
from tests.near_ties import are_the_same
from unisono.core import SamplingParams
from unisono.core.errors import DeviceNotFoundError
from unisono.engine import Engine
from unisono.hardware import PortableOps, discover, find_hardware
from unisono.hardware.devices.cpu import CpuOps, PackedWeight

PROMPTS = checkpoints.prompts(7, 20, 12, seed=3)
DTYPES = ["float16", "bfloat16", "float32"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = checkpoints.oracle("qwen2", initializer_range=0.12)
    return checkpoints.save(model, tmp_path_factory.mktemp("qwen2"))


def tensors(engine: Engine) -> dict[str, torch.Tensor]:
    """Every weight by its path, as a plain matrix."""
    model, ops = engine.runner.model, engine.runner.hardware.ops
    found = {name: parameter.data for name, parameter in model.named_parameters()}
    for path, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, PackedWeight):
            ones = torch.eye(weight.shape[1], dtype=torch.bfloat16)
            found[f"{path}.weight"] = ops.linear(ones, weight).T
    return found


# -- values -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "qwen3"])
@pytest.mark.parametrize("tied", [False, True])
def test_shards_are_the_single_file(tmp_path: Path, family: str, tied: bool) -> None:
    model = checkpoints.oracle(family, head_dim=16, tie_word_embeddings=tied)
    single = engine(checkpoints.save(model, tmp_path / "single"))
    sharded = engine(checkpoints.save(model, tmp_path / "sharded", max_shard_size="100KB"))
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 4
    ours, theirs = tensors(sharded), tensors(single)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert single.info.num_parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("stored", DTYPES)
@pytest.mark.parametrize("loaded", DTYPES)
def test_dtypes(tmp_path: Path, stored: str, loaded: str) -> None:
    model = checkpoints.oracle("qwen2").to(getattr(torch, stored))
    ours = engine(checkpoints.save(model, tmp_path), dtype=loaded)
    source = load_file(tmp_path / "model.safetensors")
    found = tensors(ours)
    assert {tensor.dtype for tensor in found.values()} == {getattr(torch, loaded)}
    for layer in range(3):
        inside, attention = f"layers.{layer}.", f"model.layers.{layer}.self_attn."
        for kind in ("weight", "bias"):
            stacked = torch.cat([source[f"{attention}{p}_proj.{kind}"] for p in "qkv"])
            expected = stacked.to(getattr(torch, loaded))
            assert torch.equal(found[f"{inside}self_attn.qkv_proj.{kind}"], expected)
    for name in ("embed_tokens.weight", "norm.weight", "layers.1.mlp.down_proj.weight"):
        assert torch.equal(found[name], source[f"model.{name}"].to(getattr(torch, loaded)))
    assert ours.info.dtype == loaded
    assert [len(answer) for answer in answers(ours, PROMPTS)] == [24] * 3


@pytest.mark.parametrize("stored", DTYPES)
def test_auto_is_the_checkpoints_own_dtype(tmp_path: Path, stored: str) -> None:
    model = checkpoints.oracle("qwen2").to(getattr(torch, stored))
    assert engine(checkpoints.save(model, tmp_path), dtype="auto").info.dtype == stored


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_tied_head_is_the_embedding(tmp_path: Path, dtype: str) -> None:
    model = checkpoints.oracle("qwen2", tie_word_embeddings=True).to(getattr(torch, dtype))
    tied = engine(checkpoints.save(model, tmp_path), dtype=dtype)
    found = tensors(tied)
    table = tied.runner.model.embed_tokens.weight
    assert torch.equal(found.get("lm_head.weight", table), table)
    is_one = tied.runner.model.lm_head.weight is table
    assert is_one or dtype != "float32"
    num_copied = 0 if is_one else table.numel()
    assert tied.info.weight_bytes == (tied.info.num_parameters + num_copied) * table.itemsize


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bits_are_close_to_thirty_two(folder: Path, dtype: str) -> None:
    params = SamplingParams(temperature=0.0, max_tokens=24, ignore_eos=True, logprobs=0)
    half = run(engine(folder, dtype=dtype), [request(i, p, params) for i, p in enumerate(PROMPTS)])
    full = engine(folder)
    for i, prompt in enumerate(PROMPTS):
        ours = half[str(i)]
        whole = prompt + ours.token_ids
        scoring = SamplingParams(max_tokens=0, prompt_logprobs=1)
        scored = run(full, [request(i, whole, scoring)])[str(i)].prompt_logprobs
        assert scored is not None
        assert ours.logprobs is not None
        for entry, reference in zip(ours.logprobs, scored[len(prompt) :], strict=True):
            assert reference is not None
            assert entry.logprob == pytest.approx(reference.logprob, abs=0.1)
            assert reference.top[0][1] - reference.logprob < 0.2


# -- memory -----------------------------------------------------------------------------------

PEAK = """
import threading, time
from pathlib import Path
from tests.near_ties import are_the_same
from tests.engines import answers, engine

def anonymous():
    (line,) = [l for l in open("/proc/self/status") if l.startswith("RssAnon")]
    return int(line.split()[1]) * 1024

answers(engine(Path({tiny!r}), dtype={dtype!r}), [[5, 6, 7]])
before, peak, done = anonymous(), 0, False

def watch():
    global peak
    while not done:
        peak = max(peak, anonymous())
        time.sleep(0.001)

watcher = threading.Thread(target=watch)
watcher.start()
loaded = engine(Path({folder!r}), dtype={dtype!r})
done = True
watcher.join()
after = anonymous()
peak = max(peak, after)
print(*((size - before) / loaded.info.weight_bytes for size in (peak, after)))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 150 MB of bfloat16."""
    config = LlamaConfig(
        vocab_size=12_000,
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=3,
        num_attention_heads=16,
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    model = model.to(torch.bfloat16).to_empty(device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.01)
    return checkpoints.save(model, tmp_path_factory.mktemp("large"), max_shard_size="60MB")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's own figures")
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_loading_holds_no_second_copy(large: Path, folder: Path, dtype: str) -> None:
    code = PEAK.format(folder=str(large), tiny=str(folder), dtype=dtype)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    peak, after = map(float, done.stdout.split())
    assert 0.5 < after <= peak < 1.35


# -- what a hardware makes of weights ---------------------------------------------------------


@pytest.mark.skipif(
    not isinstance(CpuOps().prepare_linear(torch.ones(8, 8).bfloat16()), PackedWeight),
    reason="this processor has no packed bfloat16 weights",
)
def test_bfloat16_linears_are_packed(folder: Path) -> None:
    half = engine(folder, dtype="bfloat16")
    source = load_file(folder / "model.safetensors")
    for layer, module in enumerate(half.runner.model.layers):
        for linear in (module.self_attn.qkv_proj, module.self_attn.o_proj, module.mlp.gate_up_proj):
            assert isinstance(linear.weight, PackedWeight)
        down = module.mlp.down_proj
        assert isinstance(down.weight, PackedWeight)
        weight = source[f"model.layers.{layer}.mlp.down_proj.weight"].bfloat16()
        for rows in (1, 2, 7, 40):
            x = torch.randn(rows, 96, generator=torch.Generator().manual_seed(rows)).bfloat16()
            torch.testing.assert_close(down(x), F.linear(x, weight), rtol=0.01, atol=0.01)
    assert isinstance(half.runner.model.lm_head.weight, PackedWeight)
    kept = [name for name, _ in half.runner.model.named_parameters() if name.endswith("weight")]
    assert not any("proj" in name or "lm_head" in name for name in kept)


PLUGIN = """
import torch
from unisono.hardware import OP_TABLE_VERSION, CpuHardware, CpuOps, Facts, StandardMLP

calls = {"mlp": 0, "asked": []}

class FusingOps(CpuOps):
    def fuse(self, standard, forward):
        calls["asked"].append(type(standard).__name__)
        if not isinstance(standard, StandardMLP):
            return None
        gate_up, down = standard.gate_up, standard.down
        def mlp(x):
            calls["mlp"] += 1
            gate, up = self.linear(x, gate_up.weight, gate_up.bias).chunk(2, -1)
            return self.linear(torch.nn.functional.silu(gate) * up, down.weight, down.bias)
        return mlp

class Abacus(CpuHardware):
    facts = Facts(name="abacus", device_type="cpu", kv_block_size=8, op_table=OP_TABLE_VERSION)
    ops_class = FusingOps

class Silent(Abacus):
    facts = Facts(name="silent", device_type="cpu", detection_order=0)

class Shy(CpuHardware):
    facts = Facts(name="shy", device_type="cpu", detection_order=1)

    @classmethod
    def missing(cls):
        raise OSError("the driver does not answer")

class Stuck(CpuHardware):
    facts = Facts(name="stuck", device_type="cpu", detection_order=2)

    def __init__(self, index=0):
        raise OSError("the card hangs")

no_hardware = 7
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An installed package with hardware of several kinds, good and bad."""
    (tmp_path / "abacus_plugin.py").write_text(PLUGIN)
    (tmp_path / "broken_plugin.py").write_text("import a_driver_that_is_not_here")
    info = tmp_path / "abacus_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: abacus-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        textwrap.dedent(
            """
            [unisono.hardware]
            abacus = abacus_plugin:Abacus
            shy = abacus_plugin:Shy
            silent = abacus_plugin:Silent
            stuck = abacus_plugin:Stuck
            broken = broken_plugin:Broken
            nameless = abacus_plugin:Nameless
            number = abacus_plugin:no_hardware
            """
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("abacus_plugin", "broken_plugin"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield
    sys.modules.pop("abacus_plugin", None)


@pytest.mark.usefixtures("plugin")
def test_a_fused_module_takes_the_place_of_its_parts(folder: Path) -> None:
    plain = engine(folder)
    fused = engine(folder, device="abacus")
    calls = sys.modules["abacus_plugin"].calls
    each_layer = ["StandardLayer", "StandardAttention", "StandardMLP"]
    assert calls["asked"] == ["StandardDecoder", *each_layer * 3]
    assert calls["mlp"] == 0
    assert are_the_same(plain, PROMPTS, answers(fused, PROMPTS), answers(plain, PROMPTS))
    assert calls["mlp"] == 3 * fused.stats().steps
    assert fused.info.device == "abacus"


@pytest.mark.usefixtures("plugin")
def test_plugins_that_break_are_reported_and_leave_the_others_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reports = {report.name: report for report in discover()}
    reasons = {
        "broken": "a_driver_that_is_not_here",
        "nameless": "Nameless",
        "number": "no Hardware class",
        "shy": "the driver does not answer",
        "silent": "abacus-plugin has ops of its own and does not say for which op table",
        "stuck": "the card hangs",
    }
    for name, reason in reasons.items():
        assert not reports[name].present
        assert reason in reports[name].reason
        with pytest.raises(DeviceNotFoundError, match=reason):
            find_hardware(name)
    assert reports["cpu"].present
    assert reports["abacus"].present
    assert find_hardware("cpu").name == "cpu"
    assert find_hardware("auto").name == "abacus"
    assert "the card hangs" in caplog.text
    assert isinstance(find_hardware("abacus").ops, PortableOps)
