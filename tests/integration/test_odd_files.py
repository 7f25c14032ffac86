"""Small files of a model folder with odd values in the place of good ones, each through the door by
which users come: a success, or an error of ours whose message can be read.

``UNISONO_FUZZ_CASES`` is how many are tried of each file (15), ``UNISONO_FUZZ_SEED`` which (0).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models as models_of_tokens
from tokenizers import pre_tokenizers, trainers

import unisono.hardware.specs
from tests import checkpoints
from tests.byte_tokenizer import write_byte_tokenizer
from tests.embedders import write_layout
from tests.engines import engine
from tests.families import CASES
from tests.gguf_files import write_gguf
from tests.gguf_tokenizers import add_byte_level, add_sentencepiece, write_tokenizer
from tests.odd_files import ODD_FILES, Odd, odd_versions
from tests.odd_gguf import odd_gguf_files
from tests.vocabularies import tekken_file
from unisono.core.errors import InsufficientMemoryError, ModelError, SpecError, UnisonoError
from unisono.hardware.cards.status import Card
from unisono.hardware.specs.parsing import parse_spec
from unisono.hub import read_sampling_defaults, resolve_model
from unisono.hub.model_role import read_role
from unisono.text import Tokenizer
from unisono.text.vocabulary.building import build_tokenizer
from unisono.text.vocabulary.spelling import read_spelling

NUM_CASES = int(os.environ.get("UNISONO_FUZZ_CASES", "15"))
SEED = int(os.environ.get("UNISONO_FUZZ_SEED", "0"))
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"
TOKEN = {"content": "<a>", "lstrip": False, "normalized": False, "special": True}
Door = Callable[[Path], object]

GOOD: dict[str, Any] = {
    "tokenizer_config.json": {
        "add_bos_token": True,
        "added_tokens_decoder": {"256": TOKEN},
        "additional_special_tokens": ["<b>", TOKEN],
        "bos_token": TOKEN,
        "chat_template": [{"name": "default", "template": TEMPLATE}],
        "eos_token": "<|im_end|>",
        "extra_special_tokens": {"image_token": "<i>"},
        "tokenizer_class": "LlamaTokenizer",
    },
    "special_tokens_map.json": {"bos_token": "<s>", "eos_token": TOKEN, "additional": [TOKEN]},
    "added_tokens.json": {"<a>": 259, "<b>": 260},
    "chat_template.json": {"chat_template": TEMPLATE},
    "generation_config.json": {
        "do_sample": True,
        "eos_token_id": [2, 3],
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "temperature": 0.7,
        "top_k": 20,
        "top_p": 0.9,
    },
    "model.safetensors.index.json": {
        "metadata": {"total_size": 7},
        "weight_map": {"lm_head.weight": "a.safetensors", "model.norm.weight": "b.safetensors"},
    },
    "quantize_config.json": {"bits": 4, "group_size": 32, "desc_act": False, "sym": True},
    "hf_quant_config.json": {
        "producer": {"name": "modelopt"},
        "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": None},
    },
    "adapter_config.json": {"base_model_name_or_path": "org/name", "r": 8},
}


def build(folder: Path) -> None:
    built = build_tokenizer(folder)
    decoder = built.backend.decoder
    read_spelling(None if decoder is None else json.loads(decoder.__getstate__()))


def tokenizer_folder(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    write_byte_tokenizer(folder, TEMPLATE)
    for name in names:
        (folder / name).write_text(json.dumps(GOOD[name]))
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A tiny checkpoint of each family, made once."""
    root = tmp_path_factory.mktemp("models")

    def of(kind: str) -> Path:
        if not (root / kind).exists():
            case = CASES[kind]
            oracle = checkpoints.oracle(case.model_type, **case.options)
            checkpoints.save(oracle, root / kind)
        return root / kind

    return of


def survives(path: Path, door: Callable[[], object], cases: Iterable[Odd]) -> None:
    """Each case, put into the place of ``path``, passes the ``door`` or is refused as it should."""
    refusals = 0
    for case in cases:
        path.write_bytes(case.content)
        message = ""
        try:
            door()
        except (ModelError, InsufficientMemoryError) as error:
            message = str(error)
        except BaseException as error:
            raise AssertionError(f"{path.name}: {case}: {error!r:.300}") from error
        refusals += bool(message)
        assert len(message.encode()) < 1500, f"{path.name}: {case}: {message[:2000]}"
        assert "\n" not in message, f"{path.name}: {case}: {message}"
    assert refusals, f"nothing of {path.name} was refused: is it read?"


def cases_of(value: Any, count: int = NUM_CASES) -> list[Odd]:
    whole = [Odd(content, (), repr(content[:20])) for content in ODD_FILES]
    generator = random.Random(SEED)
    return [
        *generator.sample(whole, min(len(whole), count)),
        *odd_versions(value, count, generator),
    ]


@pytest.mark.parametrize(
    ("name", "also"),
    [
        ("tokenizer_config.json", ()),
        ("special_tokens_map.json", ()),
        ("added_tokens.json", ("special_tokens_map.json",)),
        ("chat_template.json", ()),
        ("tokenizer.json", ("tokenizer_config.json",)),
    ],
)
def test_files_of_a_tokenizer(name: str, also: tuple[str, ...], tmp_path: Path) -> None:
    folder = tokenizer_folder(tmp_path / "model", *also, *({name} & GOOD.keys()))
    if name != "tokenizer_config.json" and name not in also and not also:
        (folder / "tokenizer_config.json").unlink()
    good = json.loads((folder / name).read_text())
    survives(folder / name, lambda: build(folder), cases_of(good, 4 * NUM_CASES))


def test_the_vocabulary_of_mistral(tmp_path: Path) -> None:
    survives(tmp_path / "tekken.json", lambda: build(tmp_path), cases_of(tekken_file(), NUM_CASES))


def gguf_survives(path: Path, door: Callable[[], object], count: int = NUM_CASES) -> None:
    door()
    survives(path, door, odd_gguf_files(path, count, random.Random(SEED)))


@pytest.mark.parametrize("kind", ["llama", "qwen2_moe", "gemma3_text", "gpt_oss"])
def test_the_header_of_a_gguf_file(kind: str, tmp_path: Path) -> None:
    path = write_gguf(checkpoints.oracle(kind), tmp_path / "model.gguf")
    gguf_survives(path, lambda: engine(path))


@pytest.mark.parametrize("add", [add_byte_level, add_sentencepiece])
def test_the_tokenizer_of_a_gguf_file(add: Any, tmp_path: Path) -> None:
    backend = Backend(models_of_tokens.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=280, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(["the quick brown fox, the lazy dog"] * 4, trainer)
    own = {"pre": "qwen2"} if add is add_byte_level else {}
    path = write_tokenizer(tmp_path / "m.gguf", add, backend, template=TEMPLATE, eos=1, **own)
    gguf_survives(path, lambda: build(path), 4 * NUM_CASES)


def test_a_tokenizer_in_its_own_process(tmp_path: Path) -> None:
    """The same door as users have; it takes a process each time, so with few cases."""
    folder = tokenizer_folder(tmp_path / "model", "tokenizer_config.json")
    path = folder / "tokenizer_config.json"
    survives(path, lambda: Tokenizer.load(folder), cases_of(GOOD[path.name], 4))


FAMILIES = [
    "llama",
    "deepseek-v3",
    "gpt-oss",
    "llama4",
    "gemma4-experts",
    "qwen3_next",
    "lfm2",
    "bamba",
]


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_configuration(kind: str, models: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(models(kind), tmp_path / "model")
    good = json.loads((folder / "config.json").read_text())
    engine(folder)
    survives(folder / "config.json", lambda: engine(folder), cases_of(good))


STATED: dict[str, dict[str, Any]] = {
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm"},
    "bitsandbytes": {"quant_method": "bitsandbytes", "load_in_4bit": True},
    "compressed-tensors": {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "ignore": ["lm_head"],
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group"},
            }
        },
    },
    "fp8": {"quant_method": "fp8", "weight_block_size": [128, 128], "fmt": "e4m3"},
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True, "desc_act": False},
    "mxfp4": {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]},
}


@pytest.mark.parametrize("method", STATED)
def test_how_weights_are_quantised(
    method: str, models: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(models("llama"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    whole = odd_versions(STATED[method], NUM_CASES, random.Random(SEED))
    text = json.dumps({**config, "quantization_config": "\ue000"})
    mark = json.dumps("\ue000")
    cases = [
        Odd(text.replace(mark, odd.content.decode()).encode(), odd.path, odd.value) for odd in whole
    ]
    survives(folder / "config.json", lambda: engine(folder), cases)


@pytest.mark.parametrize("name", ["generation_config.json", "quantize_config.json"])
def test_files_beside_a_configuration(
    name: str, models: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(models("llama"), tmp_path / "model")
    survives(folder / name, lambda: engine(folder), cases_of(GOOD[name]))


def test_what_a_publisher_recommends(tmp_path: Path) -> None:
    path = tmp_path / "generation_config.json"
    survives(path, lambda: read_sampling_defaults(tmp_path), cases_of(GOOD[path.name]))


def test_another_way_to_state_quantised_weights(
    models: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(models("llama"), tmp_path / "model")
    path = folder / "hf_quant_config.json"
    survives(path, lambda: engine(folder), cases_of(GOOD[path.name]))


def test_an_index(models: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(models("llama"), tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    path = folder / "model.safetensors.index.json"
    survives(path, lambda: engine(folder), cases_of(GOOD[path.name]))


@pytest.mark.parametrize(
    "name",
    [
        *("config.json", "modules.json", "1_Pooling/config.json", "2_LogitScore/config.json"),
        *("config_sentence_transformers.json", "sentence_bert_config.json"),
    ],
)
def test_what_a_model_is_for(name: str, tmp_path: Path) -> None:
    write_layout(tmp_path)
    modules = json.loads((tmp_path / "modules.json").read_text())
    if name == "2_LogitScore/config.json":
        modules = [modules[0], {"type": "x.LogitScore", "path": "2_LogitScore"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    value = json.loads((tmp_path / name).read_text())
    if name == "config.json":
        value |= {"architectures": ["QForSequenceClassification"], "id2label": {"0": "x"}}
        value |= {"is_causal": True, "sentence_transformers": {"activation_fn": "x.Sigmoid"}}
    for task in ("auto", "embed", "rerank"):
        if (task, name) != ("rerank", "1_Pooling/config.json"):
            survives(tmp_path / name, partial(read_role, tmp_path, task), cases_of(value))


def test_an_adapter(tmp_path: Path) -> None:
    path = tmp_path / "adapter_config.json"
    survives(path, lambda: resolve_model(str(tmp_path)), cases_of(GOOD[path.name]))


def test_the_header_of_weights(models: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(models("llama"), tmp_path / "model")
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    end = 8 + struct.unpack("<Q", whole[:8])[0]
    cases = [
        Odd(struct.pack("<Q", len(odd.content)) + odd.content + whole[end:], odd.path, odd.value)
        for odd in cases_of(json.loads(whole[8:end]))
    ]
    survives(path, lambda: engine(folder), cases)


PLACES: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to itself": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_file(place: str, models: Callable[[str], Path], tmp_path: Path) -> None:
    """In the place of each file that is read."""
    good = tokenizer_folder(shutil.copytree(models("llama"), tmp_path / "good"))
    (good / "tokenizer_config.json").unlink()  # Beside its template no other is read.
    doors: dict[str, Door] = {
        "config.json": engine,
        "generation_config.json": engine,
        "model.safetensors": engine,
        "model.safetensors.index.json": engine,
        "quantize_config.json": engine,
        **dict.fromkeys(("added_tokens.json", "chat_template.jinja", "chat_template.json"), build),
        **dict.fromkeys(
            ("special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"), build
        ),
    }
    for name, door in doors.items():
        folder = shutil.copytree(good, tmp_path / name)
        (folder / name).unlink(missing_ok=True)
        if name.endswith("index.json"):
            (folder / "model.safetensors").unlink()
        PLACES[place](folder / name)
        with pytest.raises(ModelError) as caught:
            door(folder)
        assert name in str(caught.value) or "safetensors" in str(caught.value), name


def test_a_capability_card() -> None:
    good = {"schema": 1, "hardware": "cpu", "passed": True, "checks": []}
    for case in odd_versions(good, 10 * NUM_CASES, random.Random(SEED)):
        try:
            Card.parse(json.loads(case.content))
        except (ValueError, RecursionError):
            continue
        except UnisonoError as error:
            raise AssertionError(case) from error


ODD_TOML = (
    *("true", "0", "-1", "1.5", "nan", "-inf", "1" + "0" * 400, '""', '"x"', '"a\\u0000b"', "[]"),
    *("{}", "[[]]", '["x", 1]', "{ x = 1 }", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z"),
    *("0x10", "", "'''", "[" * 500 + "]" * 500, '"' + "x" * 70_000 + '"'),
)


def test_the_figures_of_a_chip() -> None:
    """Every line of a file of the ledger, with each odd value."""
    path = Path(unisono.hardware.specs.__file__).with_name("a100.toml")
    lines = path.read_text("utf-8").splitlines()
    parse_spec("\n".join(lines), path.name)
    cases = [
        (number, line.partition(" = ")[0] + " = " + odd)
        for number, line in enumerate(lines)
        for odd in ODD_TOML
        if " = " in line
    ]
    for number, line in random.Random(SEED).sample(cases, min(len(cases), 20 * NUM_CASES)):
        message = ""
        try:
            parse_spec("\n".join([*lines[:number], line, *lines[number + 1 :]]), path.name)
        except SpecError as error:
            message = str(error)
        except BaseException as error:
            raise AssertionError(f"{line[:80]}: {error!r:.300}") from error
        assert "\n" not in message, line[:80]
        assert len(message) < 1500, line[:80]
