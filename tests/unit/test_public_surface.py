"""The rooms export what is documented, and the source never holds what is forbidden."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import unisono

PACKAGE = Path(unisono.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
ROOMS = {
    "unisono": ["Completion", "LLM", "SamplingParams", "UnisonoError", "__version__"],
    "unisono.conformance": [
        *("Failure", "Figure", "Listener", "Options", "Result", "Run", "check_device"),
    ],
    "unisono.core": [
        *("Batch", "BatchRow", "CacheGroup", "CacheKind", "CacheTensor", "Clock", "DTYPES"),
        *(
            "EngineConfig",
            "FinishReason",
            "KV_DTYPES",
            "LayerCache",
            "MAX_ALLOWED_TOKENS",
            "MAX_LOGPROBS",
            "ManualClock",
            "MonotonicClock",
        ),
        *("NEUTRAL", "Request", "RequestOutput", "RowResult", "SamplingDefaults"),
        *("SamplingParams", "TokenLogprob"),
        *("WeightFormat", "derive_seed", "format_bytes", "group_layers"),
        *("parse_bytes", "parse_kv_memory", "uniform"),
    ],
    "unisono.engine": [
        *("Engine", "EngineInfo", "EngineStats", "Runner", "Timings", "build_engine"),
    ],
    "unisono.gguf": [
        *("GgufFile", "Metadata", "TensorInfo", "is_gguf", "model_files", "only_model_of"),
    ],
    "unisono.hardware": [
        *(
            "AttentionSize",
            "AttentionStep",
            "DeviceReport",
            "Facts",
            "Finding",
            "Hardware",
            "HardwareReport",
        ),
        *("HostHardware", "LayerKV", "LowRankPart", "QuantizedKV", "CpuHardware", "CpuOps"),
        *("HeldWeight", "NumberWeight", "LevelWeight", "CodedWeight", "BlockWeight"),
        *("StackedWeight", "ReorderedWeight", "as_levels", "quantize"),
        *("Standard", "StandardDecoder", "StandardLayer", "StandardAttention", "StandardMLP"),
        *("StandardLinear", "StandardNorm", "StandardEmbedding", "Rotation"),
        *("LatentAttentionSize", "Expert", "Routing", "StackedExperts", "Group"),
        "register_bridge",
        *("MemoryInfo", "MemoryUse", "OP_TABLE_VERSION", "PackedForm", "PortableOps"),
        *("discover", "find_hardware", "import_plugin", "load_hardware"),
    ],
    "unisono.models": [
        *("Decoder", "FAMILIES", "LoadedModel", "ModelConfig", "RawConfig", "StepContext"),
        *("find_family", "load_model"),
    ],
    "unisono.text": [
        *("Answer", "AnswerDelta", "AnswerStream", "Content"),
        *("Reasoning", "ToolCall"),
        *("Detokenizer", "TextDelta", "TextStream", "Tokenizer"),
    ],
}
"""The documented names of each room: a change here is a change of the interface."""


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@cache
def trees() -> list[tuple[str, ast.Module]]:
    return [(name_of(path), ast.parse(path.read_text("utf-8"))) for path in SOURCES]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_exports_its_documented_names(room: str) -> None:
    module = importlib.import_module(room)
    assert sorted(module.__all__) == sorted(ROOMS[room])
    for name in module.__all__:
        assert getattr(module, name) is not None


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_no_further_public_names(room: str) -> None:
    public = {
        name
        for name, value in vars(importlib.import_module(room)).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name != "annotations"
    }
    unlisted = public - set(ROOMS[room])
    assert unlisted <= {"TYPE_CHECKING", "Any", "import_module"}


def test_every_module_says_what_it_is() -> None:
    for name, tree in trees():
        assert ast.get_docstring(tree), f"{name} has no docstring"


def test_only_faces_list_names() -> None:
    for name, tree in trees():
        listed = [
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        ]
        assert not listed or name.endswith("__init__.py"), f"{name}: an underscore says it"
        assert all(len(set(names)) == len(names) for names in listed), name


@pytest.mark.parametrize(
    "room",
    [
        "unisono",
        "unisono.core",
        "unisono.text",
        "unisono.cli",
        "unisono.hardware.specs",
        "unisono.conformance",
    ],
)
def test_rooms_that_import_no_torch(room: str) -> None:
    code = f"import sys, {room}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# -- never ------------------------------------------------------------------------------------

FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve"}
FORBIDDEN_MODULES |= {"joblib", "transformers"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_ATTRIBUTES = {"torch.load", "torch.save", "torch.hub", "torch.package", "yaml.load"}
ALLOWED_ATTRIBUTES = {"conformance/checks/runtime/modules.py": {"torch.load", "torch.save"}}
"""The kit tests what others' programs use, on bytes that it wrote itself."""


def test_no_pickles_and_no_code_from_data() -> None:
    for name, tree in trees():
        for node in ast.walk(tree):
            where = f"{name}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                roots = {alias.name.partition(".")[0] for alias in node.names}
                assert not roots & FORBIDDEN_MODULES, where
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").partition(".")[0] not in FORBIDDEN_MODULES, where
            elif isinstance(node, ast.Attribute):
                if isinstance(node.value, ast.Name):
                    allowed = ALLOWED_ATTRIBUTES.get(name, set())
                    full_name = f"{node.value.id}.{node.attr}"
                    assert full_name not in FORBIDDEN_ATTRIBUTES - allowed, where
                assert node.attr != "allow_pickle", where
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in FORBIDDEN_CALLS, where
            elif isinstance(node, ast.keyword):
                if node.arg == "weights_only":
                    assert ast.unparse(node.value) == "True", where
                assert node.arg not in {"allow_pickle", "trust_remote_code"}, where


VENDORS = "cuda|npu|xpu|mps|musa|mlu|supa|hpu|rocm"
VENDOR_CODE = re.compile(rf"\btorch\.({VENDORS})\b|\btorch_({VENDORS})\b|\.({VENDORS})\(\)")
VENDOR_LITERAL = re.compile(rf"({VENDORS})(:\d+)?", re.I)


def test_only_the_hardware_room_names_a_vendor() -> None:
    for name, tree in trees():
        if name.startswith("hardware/"):
            continue
        assert not VENDOR_CODE.search((PACKAGE / name).read_text("utf-8")), name
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not VENDOR_LITERAL.fullmatch(node.value.strip()), f"{name}:{node.lineno}"


def test_the_rules_catch_what_they_are_for() -> None:
    for code in ("torch.cuda.synchronize()", "import torch_npu", "x.cuda()"):
        assert VENDOR_CODE.search(code), code
    for literal in ("cuda", "npu:1", "MUSA"):
        assert VENDOR_LITERAL.fullmatch(literal), literal
    assert not VENDOR_CODE.search("hardware.synchronize()")
