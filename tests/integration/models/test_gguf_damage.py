"""A GGUF file with damaged bytes: it loads, or an error of ours says what is wrong."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from gguf import GGUFWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checkpoints import oracle
from tests.gguf_files import write_gguf
from tests.gguf_tokenizers import add_byte_level, add_sentencepiece
from tests.small_tokenizers import llama2, qwen
from tests.waiting import computing_at_most
from unisono.core.errors import UnisonoError
from unisono.gguf import GgufFile
from unisono.hardware.devices.cpu import CpuHardware
from unisono.models import load_model
from unisono.text import Tokenizer

EXAMPLES = 150
CHANGE = st.tuples(st.integers(0, 1 << 30), st.integers(0, 255))


@pytest.fixture(scope="module", params=["qwen3", "mixtral"])
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("damage") / "model.gguf"
    shape = {"num_hidden_layers": 1, "head_dim": 16, "vocab_size": 400}
    experts = {"num_local_experts": 2} if request.param == "mixtral" else {}
    model = oracle(request.param, **shape, **experts)

    def extend(writer: GGUFWriter) -> None:
        if experts:
            add_sentencepiece(writer, llama2()[0], bos=1, eos=2)
        else:
            add_byte_level(writer, qwen()[0], pre="qwen2", eos=2)

    return write_gguf(model, path, "Q8_0", extend=extend, eos=False)


def places(whole: bytes) -> list[int]:
    """Offsets of the values that models and tokenizers are made by, and of names of tensors."""
    words = (".context_length", ".head_count", ".block_count", ".key_length", ".embedding_length")
    words += (
        "rope.",
        "epsilon",
        "ggml.model",
        "ggml.pre",
        "token_type",
        "eos_token",
        "ggml.scores",
    )
    words += ("expert_count", "blk.0.attn_q.", "output_norm", "token_embd", "architecture")
    return [at for word in words if (at := whole.find(word.encode())) >= 0]


def test_damage(file: Path, tmp_path: Path) -> None:
    whole, path = file.read_bytes(), tmp_path / "damaged.gguf"
    header = min(info.start for info in GgufFile.read(file).tensors.values())
    near = places(whole)

    @settings(max_examples=EXAMPLES)
    @given(
        anywhere=st.lists(CHANGE, max_size=2),
        near_values=st.lists(st.tuples(st.sampled_from(near), CHANGE), min_size=1, max_size=3),
    )
    def check(
        anywhere: list[tuple[int, int]], near_values: list[tuple[int, tuple[int, int]]]
    ) -> None:
        data = bytearray(whole)
        for at, byte in anywhere:
            data[at % header] = byte
        for start, (at, byte) in near_values:
            data[min(start + at % 60, header - 1)] = byte
        path.write_bytes(data)
        with computing_at_most(60), suppress(UnisonoError):
            load_model(path, CpuHardware(), dtype="float32")
        with computing_at_most(60), suppress(UnisonoError):
            Tokenizer.load(path).encode("hello wörld")

    check()
