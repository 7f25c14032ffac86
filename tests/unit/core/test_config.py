"""The engine's configuration, and sizes as people write them."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unisono.core import EngineConfig, format_bytes, parse_bytes, parse_kv_memory
from unisono.core.errors import ConfigError


def test_the_defaults_are_valid_and_frozen() -> None:
    config = EngineConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.dtype = "float32"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "fp8"}, "'fp8'.*Use auto, float32, bfloat16, float16"),
        ({"kv_dtype": "int4"}, "'int4'.*Use auto, int8, fp8"),
        ({"kv_memory": 0}, "kv_memory must be at least 1"),
        ({"max_num_seqs": 0}, "max_num_seqs"),
        ({"max_num_batched_tokens": -5}, "not -5"),
        ({"max_queue": 0}, "max_queue"),
        ({"max_model_len": 0}, "max_model_len"),
        ({"block_size": 0}, "block_size"),
        ({"max_num_seqs": 9, "max_num_batched_tokens": 8}, "max_num_seqs.*lower the other"),
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EngineConfig(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": 5}, "device must be a text, not 5"),
        ({"max_num_seqs": "8"}, "max_num_seqs must be a whole number, not '8'"),
        ({"max_num_seqs": True}, "max_num_seqs must be a whole number"),
        ({"threads": 2.0}, "threads must be a whole number or None"),
        ({"prefix_cache": 1}, "prefix_cache must be True or False"),
        ({"weights": None}, "weights must be a text"),
        ({"foo": 1}, "no option 'foo'.*Options: device, dtype"),
    ],
)
def test_options_of_another_name_or_type_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EngineConfig().but(**changes)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GiB", 8 * 2**30),
        ("8gib", 8 * 2**30),
        (" 512 MB ", 512 * 10**6),
        ("1.5KiB", 1536),
        ("2k", 2000),
        ("3Ti", 3 * 2**40),
        ("1e9", 10**9),
        ("7", 7),
        ("7B", 7),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "GiB", "-1GiB", "8 GiB free", "5i", "8XB", "0", "0.1", "nan", "inf", "1e400", "1e400TiB"],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_bytes(text)


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert parse_bytes(text) >= 1


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (1610612736, "1.5 GiB"),
        (2**43, "8.0 TiB"),
        (2**53, "8192.0 TiB"),
    ],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert format_bytes(size) == text


@given(st.integers(1, 2**45))
def test_what_is_written_can_be_read(size: int) -> None:
    assert parse_bytes(format_bytes(size)) == pytest.approx(size, rel=0.06)


def test_kv_memory_is_a_size_or_what_fits() -> None:
    assert parse_kv_memory("auto") is None
    assert parse_kv_memory("512MiB") == 512 * 2**20
    with pytest.raises(ConfigError, match=r"Write it like 2GiB.* Or auto"):
        parse_kv_memory("lots")
