"""The program from outside: a process, a tiny checkpoint, good and bad input."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tests.waiting import PATIENCE_S

PROGRAM = [sys.executable, "-c", "from unisono.cli import main; main()"]
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 258,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "bos_token_id": 256,
    "eos_token_id": 257,
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama with random weights and a byte-level tokenizer."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": "<s>", "eos_token": "</s>"})
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {char: index for index, char in enumerate([*alphabet, "<s>", "</s>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    save_file(_weights(), str(folder / "model.safetensors"), metadata={"format": "pt"})
    return folder


def _weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"model.embed_tokens": (258, 32), "lm_head": (258, 32)}
    norms = ["model.norm"]
    for layer in range(2):
        prefix = f"model.layers.{layer}"
        norms += [f"{prefix}.input_layernorm", f"{prefix}.post_attention_layernorm"]
        for name, rows in (("q", 32), ("k", 16), ("v", 16), ("o", 32)):
            shapes[f"{prefix}.self_attn.{name}_proj"] = (rows, 32)
        for name, shape in (("gate", (48, 32)), ("up", (48, 32)), ("down", (32, 48))):
            shapes[f"{prefix}.mlp.{name}_proj"] = shape
    weights = {
        f"{name}.weight": torch.randn(shape, generator=generator) * 0.1
        for name, shape in shapes.items()
    }
    return weights | {f"{name}.weight": torch.ones(32) for name in norms}


@pytest.fixture
def broken(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint that a test may break."""
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def unisono(*words: str | bytes, **options: Any) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    environment.pop("UNISONO_DEBUG", None)
    options = {"stdin": subprocess.DEVNULL, **options}
    return subprocess.run(
        [*PROGRAM, *words],
        capture_output=True,
        env=environment,
        check=False,
        **options,
    )


def refused(result: subprocess.CompletedProcess[bytes], *phrases: str, code: int = 2) -> None:
    """One clear line, a hint or none, the right exit code, nothing else."""
    error = result.stderr.decode()
    lines = error.splitlines()
    assert result.returncode == code, error
    assert lines[0].startswith("error: "), error
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("hint: ")), error
    for phrase in phrases:
        assert phrase in error


def test_run_prints_the_answer_and_nothing_else_on_stdout(checkpoint: Path) -> None:
    words = ["run", str(checkpoint), "Hello", "--max-tokens", "12"]
    plain, as_json = unisono(*words), unisono(*words, "--json")
    assert (plain.returncode, as_json.returncode) == (0, 0), plain.stderr + as_json.stderr
    record = json.loads(as_json.stdout)
    assert plain.stdout.decode() == record["text"] + "\n"
    assert len(record["token_ids"]) == record["usage"]["completion_tokens"] <= 12
    assert b"tokens/s" in plain.stderr
    assert as_json.stderr == b""


def test_a_quantised_folder_answers_as_the_original_does(tmp_path: Path) -> None:
    out = tmp_path / "int8"
    made = unisono("quantize", "--weights", "int8", "-o", str(out), "--json")
    assert made.returncode == 0, made.stderr
    record = json.loads(made.stdout)
    assert (record["format"], record["folder"]) == ("int8-g128", str(out))
    assert record["bytes_after"] < record["bytes_before"]
    assert {path.name for path in out.iterdir()} == {
        *("config.json", "model.safetensors", "README.md", "generation_config.json"),
        *("tokenizer.json", "tokenizer_config.json"),
    }
    assert "built-in demo model" in (out / "README.md").read_text()
    message = ["Charge of 12 EUR on 3 May.", "--json", "--max-tokens", "16", "--kv-memory", "64MiB"]
    ours = unisono("run", str(out), *message)
    theirs = unisono("run", *message, "--weights", "int8")
    assert (ours.returncode, theirs.returncode) == (0, 0), ours.stderr + theirs.stderr
    assert json.loads(ours.stdout)["token_ids"] == json.loads(theirs.stdout)["token_ids"]
    refused(unisono("run", str(out), *message, "--weights", "int4"), "int8-g128", "hint: ")
    refused(unisono("quantize", str(out), "-o", str(tmp_path / "again")), "quantised already")
    table = unisono("quantize", "-o", str(tmp_path / "int4"))
    assert table.returncode == 0
    assert f"unisono run {tmp_path / 'int4'}" in table.stdout.decode()


def test_run_reads_standard_input_and_repeats_itself_by_seed(checkpoint: Path) -> None:
    words = ["run", str(checkpoint), "--raw", "--json", "--temperature", "1", "--seed", "5"]
    answers = [
        unisono(*words, "--max-tokens", "20", stdin=None, input="你好 👋".encode())
        for _ in range(2)
    ]
    records = [json.loads(answer.stdout) for answer in answers]
    assert records[0]["token_ids"] == records[1]["token_ids"]
    assert records[0]["usage"]["prompt_tokens"] == len("你好 👋".encode())


def test_chat_in_a_pipe(checkpoint: Path) -> None:
    lines = b"Hello\n/system Be brief.\nAgain\n/exit\nnever read\n"
    result = unisono("chat", str(checkpoint), "--max-tokens", "4", stdin=None, input=lines)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count(b"tokens/s") == 2


def test_bench_measures(checkpoint: Path) -> None:
    words = ["--prompt", "16", "--generate", "6", "--batch", "1,3", "--repeat", "1"]
    result = unisono("bench", str(checkpoint), *words, "--json")
    assert result.returncode == 0, result.stderr
    record = json.loads(result.stdout)
    assert [entry["batch"] for entry in record["batches"]] == [1, 3]
    for entry in record["batches"]:
        assert entry["decode_tokens_per_s"] > 0
        assert 0 < entry["overhead_share"] < 1
        assert entry["step_bytes"] > record["engine"]["step_weight_bytes"]
        assert entry["compute_roof_share"] > 0
    roofs = record["roofs"]
    assert roofs.keys() == {
        *("memory_read_bytes_per_s", "memory_reads", "products_per_s", "products_of")
    }
    assert roofs["memory_read_bytes_per_s"] > 0
    assert roofs["products_per_s"] > 0
    assert roofs["products_of"] == record["engine"]["dtype"] == "float32"


def test_bench_for_people(checkpoint: Path) -> None:
    words = ["--prompt", "16", "--generate", "4", "--batch", "2", "--repeat", "1"]
    result = unisono("bench", str(checkpoint), *words)
    assert result.returncode == 0, result.stderr
    assert b"decode tok/s" in result.stdout


def test_devices() -> None:
    reports = json.loads(unisono("devices", "--json").stdout)
    assert any(report["name"] == "cpu" and report["present"] for report in reports)


def test_a_missing_folder() -> None:
    refused(unisono("run", "./no-such-folder", "Hi"), "'./no-such-folder'", "hint: Give a folder")


def test_an_id_that_is_not_in_the_cache(tmp_path: Path) -> None:
    refused(unisono("run", "no-such/model", "Hi"), "no-such/model", "offline")


def test_an_unknown_device_lists_those_found(checkpoint: Path) -> None:
    refused(unisono("run", str(checkpoint), "Hi", "--device", "quantum"), "'quantum'", "cpu")


@pytest.mark.parametrize(
    ("option", "value", "phrase"),
    [
        ("--kv-memory", "lots", "'lots' is not a size"),
        ("--kv-memory", "1", "KV"),
        ("--dtype", "int3", "bfloat16"),
        ("--temperature", "-1", "temperature"),
        ("--max-model-len", "-5", "max_model_len"),
    ],
)
def test_a_bad_option(checkpoint: Path, option: str, value: str, phrase: str) -> None:
    refused(unisono("run", str(checkpoint), "Hi", option, value), phrase)


def test_a_prompt_longer_than_the_context(checkpoint: Path) -> None:
    refused(unisono("run", str(checkpoint), "word " * 200), "256")


def test_a_prompt_that_is_no_text(checkpoint: Path) -> None:
    refused(unisono("run", str(checkpoint), b"caf\xe9"))


def test_a_truncated_checkpoint(broken: Path) -> None:
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    refused(unisono("run", str(broken), "Hi"), "model.safetensors")


def test_a_shard_that_was_not_downloaded(broken: Path) -> None:
    weights = broken / "model.safetensors"
    weights.rename(broken / "model-00001-of-00002.safetensors")
    second = "model-00002-of-00002.safetensors"
    names = dict.fromkeys(_weights(), "model-00001-of-00002.safetensors")
    index = {"metadata": {}, "weight_map": names | {"lm_head.weight": second}}
    (broken / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(unisono("run", str(broken), "Hi"), second)


def test_an_unknown_architecture_names_the_nearest_known_ones(broken: Path) -> None:
    config = CONFIG | {"model_type": "llamb", "architectures": ["LlambForCausalLM"]}
    (broken / "config.json").write_text(json.dumps(config))
    refused(unisono("run", str(broken), "Hi"), "LlambForCausalLM", "LlamaForCausalLM")


def test_a_config_that_contradicts_its_weights(broken: Path) -> None:
    (broken / "config.json").write_text(json.dumps(CONFIG | {"intermediate_size": 64}))
    refused(unisono("run", str(broken), "Hi"), "mlp")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_file_that_is_missing(broken: Path, name: str) -> None:
    (broken / name).unlink()
    refused(unisono("run", str(broken), "Hi"))


def test_a_file_that_is_no_json(broken: Path) -> None:
    (broken / "config.json").write_bytes(b'{"model_type": \xff')
    refused(unisono("run", str(broken), "Hi"), "config.json")


def test_a_reader_that_leaves_early(checkpoint: Path) -> None:
    words = [*PROGRAM, "run", str(checkpoint), "Hi", "--max-tokens", "200", "--raw"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        error = process.stderr.read()
        assert process.wait(PATIENCE_S) in (0, 1)
    assert b"Traceback" not in error
    assert b"Exception ignored" not in error


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_an_output_without_space(checkpoint: Path) -> None:
    for verb in (["run", str(checkpoint), "Hi", "--max-tokens", "4"], ["specs", "h100"]):
        with open("/dev/full", "wb") as full:
            result = subprocess.run(
                [*PROGRAM, *verb], stdout=full, stderr=subprocess.PIPE, check=False
            )
        refused(result, "Not everything could be written", "No space left", code=1)


def test_an_output_that_is_closed(checkpoint: Path) -> None:
    verb = ["run", str(checkpoint), "Hi", "--max-tokens", "4"]
    result = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *PROGRAM, *verb], stderr=subprocess.PIPE, check=False
    )
    assert result.returncode == 0, result.stderr
    assert b"error" not in result.stderr


def test_no_rate_of_an_answer_without_one(checkpoint: Path) -> None:
    for count, first in ((0, False), (1, True)):
        words = ("run", str(checkpoint), "Hi", "--max-tokens", str(count))
        error = unisono(*words).stderr
        assert b"tokens/s" not in error
        assert (b"first after" in error) is first


def test_ctrl_c(checkpoint: Path) -> None:
    words = [*PROGRAM, "run", str(checkpoint), "Hi", "--max-tokens", "250", "--raw"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=PATIENCE_S)
    assert process.returncode in (130, 0), "0 if the answer was complete before the signal came"
    assert b"Traceback" not in error


def test_serve_answers_and_ends_on_sigterm(checkpoint: Path) -> None:
    words = [*PROGRAM, "serve", str(checkpoint), "--port", "0", "--served-model-name", "t"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = process.stdout.readline().decode()
        found = re.search(r"on (http://\S+)", said)
        assert found, (said, process.communicate())
        body = {"model": "t", "prompt": "Hi", "max_tokens": 3}
        request = urllib.request.Request(
            f"{found[1]}/v1/completions",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            answer = json.load(response)
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=PATIENCE_S)
    assert answer["usage"]["completion_tokens"] <= 3
    assert process.returncode == 0, error
    assert b"Traceback" not in error


def test_serve_on_a_port_that_is_taken(checkpoint: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        result = unisono("serve", str(checkpoint), "--port", port)
    assert result.returncode in (1, 2)
    assert b"Traceback" not in result.stderr
    assert port.encode() in result.stderr
