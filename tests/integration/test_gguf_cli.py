"""A GGUF file named where a model is: the same answers as the folder it was written from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFWriter
from typer.testing import CliRunner

from tests.checkpoints import oracle
from tests.gguf_files import write_gguf
from tests.gguf_tokenizers import add_byte_level
from tests.small_tokenizers import qwen, save
from unisono import LLM, SamplingParams
from unisono.cli.app import app
from unisono.cli.serve import default_model_name
from unisono.core.errors import ConfigError, ModelNotFoundError
from unisono.hub import looks_like_model, resolve_model

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MESSAGES = [{"role": "user", "content": "Hello, 世界: 12345"}]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A file of float32, and a folder of safetensors with the same model and tokenizer."""
    root = tmp_path_factory.mktemp("model")
    backend, config = qwen()
    end = backend.token_to_id("<|im_end|>")
    model = oracle(
        "qwen3",
        head_dim=16,
        vocab_size=backend.get_vocab_size(),
        eos_token_id=end,
        bos_token_id=None,
    )
    folder = save(root / "folder", backend, {**config, "chat_template": TEMPLATE})

    def extend(writer: GGUFWriter) -> None:
        add_byte_level(writer, backend, pre="qwen2", template=TEMPLATE, eos=end)

    (root / "gguf").mkdir()
    path = write_gguf(model, root / "gguf" / "tiny.gguf", "F32", extend=extend, eos=False)
    model.save_pretrained(folder)
    return path, folder


def llm(path: Path) -> LLM:
    return LLM(str(path), device="cpu", dtype="float32", kv_memory="4MiB")


def test_the_same_answers_as_the_folder(both: tuple[Path, Path]) -> None:
    path, folder = both
    params = SamplingParams(temperature=0.0, max_tokens=40)
    ours, theirs = llm(path), llm(folder)
    for one, two in (
        (ours.chat(MESSAGES, params), theirs.chat(MESSAGES, params)),
        (ours.generate("Hello", params), theirs.generate("Hello", params)),
    ):
        assert one[0].prompt_token_ids == two[0].prompt_token_ids
        assert one[0].token_ids == two[0].token_ids
        assert (one[0].text, one[0].finish_reason) == (two[0].text, two[0].finish_reason)
    info = ours.engine.info
    assert (info.model_type, info.weight_format, info.max_model_len) == ("qwen3", "auto", 256)


def test_run_and_bench(both: tuple[Path, Path]) -> None:
    path, _ = both
    for name in (path, path.parent):
        result = CliRunner().invoke(
            app,
            [
                "run",
                str(name),
                "Hello",
                "--device",
                "cpu",
                "--max-tokens",
                "5",
                "--kv-memory",
                "4MiB",
            ],
        )
        assert result.exit_code == 0, result.output
    arguments = ["bench", str(path), "--device", "cpu", "--kv-memory", "4MiB", "--json"]
    sizes = ["--prompt", "8", "--generate", "4", "--repeat", "1"]
    result = CliRunner().invoke(app, [*arguments, *sizes])
    assert result.exit_code == 0, result.output


def test_names(both: tuple[Path, Path], tmp_path: Path) -> None:
    path, folder = both
    assert default_model_name(str(path)) == "tiny"
    assert looks_like_model(str(path))
    assert looks_like_model("absent.gguf")
    assert not looks_like_model("what is a .gguf file")
    assert resolve_model(str(path)) == path
    assert resolve_model(str(path.parent)) == path
    assert resolve_model(str(folder)) == folder
    for name in ("config.json", "model.safetensors", "model.gguf"):
        (tmp_path / name).touch()
    assert resolve_model(str(tmp_path)) == tmp_path


def refused(name: Any, error: type[Exception], words: str, **options: Any) -> None:
    with pytest.raises(error, match=words):
        resolve_model(str(name), **options)


def test_names_that_are_refused(both: tuple[Path, Path], tmp_path: Path) -> None:
    path, _ = both
    refused(tmp_path / "absent.gguf", ModelNotFoundError, "There is no file")
    refused(path, ConfigError, "A file has no revision", revision="main")
    result = CliRunner().invoke(
        app, ["quantize", str(path), "--weights", "int4", "-o", str(tmp_path / "out")]
    )
    assert result.exit_code == 2
    assert "does not rewrite" in result.output
