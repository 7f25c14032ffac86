"""A publisher's recommended sampling: read, checked, switched off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import pytest

from unisono.core import SamplingDefaults
from unisono.core.errors import CheckpointError, ConfigError
from unisono.hub import read_sampling_defaults, resolve_model

RECOMMENDED = {
    "temperature": 0.6,
    "top_k": 20,
    "top_p": 0.95,
    "min_p": 0.05,
    "repetition_penalty": 1.05,
}


def written(folder: Path, text: str) -> Path:
    (folder / "generation_config.json").write_text(text)
    return folder


def read(folder: Path, **values: Any) -> dict[str, float]:
    return read_sampling_defaults(written(folder, json.dumps(values))).said()


def test_all_fields(tmp_path: Path) -> None:
    more = {"eos_token_id": [1, 2], "max_new_tokens": 9, "num_beams": 1, "typical_p": 1.0}
    assert read(tmp_path, **RECOMMENDED, **more) == RECOMMENDED
    assert read(tmp_path, **RECOMMENDED, do_sample=True) == RECOMMENDED


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {}),
        ({"temperature": None, "do_sample": None}, {}),
        ({"temperature": 0.6}, {"temperature": 0.6}),
        ({"do_sample": True}, {"temperature": 1.0}),
        ({"do_sample": False}, {"temperature": 0.0}),
        ({"do_sample": False, "temperature": 0.6}, {"temperature": 0.0}),
        ({"top_k": -1}, {"top_k": 0}),
        ({"top_k": 50.0}, {"top_k": 50}),
        ({"temperature": 0}, {"temperature": 0}),
    ],
    ids=str,
)
def test_what_fields_mean(
    tmp_path: Path, values: dict[str, Any], expected: dict[str, float]
) -> None:
    assert read(tmp_path, **values) == expected


def test_a_model_without_the_file_recommends_nothing(tmp_path: Path) -> None:
    assert read_sampling_defaults(tmp_path) == SamplingDefaults()


def test_the_built_in_model_is_greedy() -> None:
    assert read_sampling_defaults(resolve_model(None)).said() == {"temperature": 0.0}


def test_another_file_or_none(tmp_path: Path) -> None:
    model, other = tmp_path / "model", tmp_path / "other"
    model.mkdir()
    other.mkdir()
    written(model, '{"temperature": 0.6}')
    written(other, '{"temperature": 0.3}')
    assert read_sampling_defaults(model, "none") == SamplingDefaults()
    for source in (other, other / "generation_config.json"):
        assert read_sampling_defaults(model, str(source)).temperature == 0.3
    with pytest.raises(ConfigError, match="absent"):
        read_sampling_defaults(model, str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match=r"generation_config\.json"):
        read_sampling_defaults(model, str(tmp_path))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("temperature", value) for value in ("0.6", -1, 1e9, True, [0.6], {}, 10**400)],
        *[("top_k", value) for value in ("50", 1.5, 1 << 40, False)],
        *[("top_p", value) for value in (0, 1.1, "x")],
        *[("min_p", value) for value in (-0.1, 2, [])],
        *[("repetition_penalty", value) for value in (0, -1, "1")],
        *[("do_sample", value) for value in (1, 0, "false", [])],
    ],
)
def test_a_bad_value_is_named(tmp_path: Path, field: str, value: Any) -> None:
    with pytest.raises(CheckpointError) as caught:
        read(tmp_path, **{field: value})
    assert f"generation_config.json: {field} must be" in str(caught.value)
    assert "--generation-config none" in caught.value.hint
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("field", list(RECOMMENDED))
def test_no_number_is_named(tmp_path: Path, field: str, number: str) -> None:
    with pytest.raises(CheckpointError, match=field):
        read_sampling_defaults(written(tmp_path, f'{{"{field}": {number}}}'))


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '"x"', "[" * 100_000, "\udcff"])
def test_a_broken_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "generation_config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(CheckpointError, match=r"generation_config\.json"):
        read_sampling_defaults(tmp_path)


@pytest.mark.parametrize("text", ["{", '{"temperature": "x"}'])
def test_a_file_of_ones_own_is_to_be_corrected_not_fetched(tmp_path: Path, text: str) -> None:
    own = tmp_path / "own.json"
    own.write_text(text)
    with pytest.raises(ConfigError, match=r"own\.json") as caught:
        read_sampling_defaults(tmp_path, str(own))
    assert caught.value.hint == f"Correct {own}, or name another file."


# -- GGUF -------------------------------------------------------------------------------------


def gguf_file(folder: Path, **values: Any) -> Path:
    path = folder / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in values.items():
        add = writer.add_float32 if isinstance(value, float) else writer.add_int32
        (writer.add_string if isinstance(value, str) else add)(f"general.sampling.{key}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_gguf_headers_say_it_too(tmp_path: Path) -> None:
    path = gguf_file(tmp_path, temp=0.6, top_k=20, top_p=0.95, min_p=0.05, penalty_repeat=1.05)
    assert read_sampling_defaults(path).said() == RECOMMENDED
    assert read_sampling_defaults(path, "none") == SamplingDefaults()
    assert read_sampling_defaults(gguf_file(tmp_path)) == SamplingDefaults()


@pytest.mark.parametrize(
    ("key", "value"), [("temp", -1.0), ("top_p", 7.0), ("top_k", 1.5), ("temp", "hot")]
)
def test_a_bad_value_of_a_gguf_header_is_named(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(CheckpointError, match=rf"general\.sampling\.{key} must be"):
        read_sampling_defaults(gguf_file(tmp_path, **{key: value}))
