from __future__ import annotations

import pytest

from unisono.core import EngineConfig, WeightFormat
from unisono.core.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "bits", "group_size", "symmetric", "bits_per_weight"),
    [
        ("int8", 8, 128, True, 8.125),
        ("int8-g32", 8, 32, True, 8.5),
        ("int4", 4, 32, True, 4.5),
        ("int4-g64", 4, 64, True, 4.25),
        ("int4-asym", 4, 32, False, 4.75),
        ("int4-asym-g128", 4, 128, False, 4.1875),
    ],
)
def test_parse(
    text: str, bits: int, group_size: int, symmetric: bool, bits_per_weight: float
) -> None:
    format = WeightFormat.parse(text)
    assert format == WeightFormat(bits=bits, group_size=group_size, symmetric=symmetric)
    assert format is not None
    assert format.bits_per_weight == bits_per_weight
    assert WeightFormat.parse(str(format)) == format


def test_the_head_keeps_8_bits() -> None:
    format = WeightFormat.parse("int4-asym-g64")
    assert format is not None
    assert str(format.of_head) == "int8-g64"


@pytest.mark.parametrize(
    "text", ["", "int3", "int4-g48", "int8-asym", "INT4", "int4-", "int4-g32x"]
)
def test_an_unknown_format_lists_the_known(text: str) -> None:
    with pytest.raises(ConfigError, match="Use auto, int8 or int4"):
        EngineConfig(weights=text)


def test_as_loaded() -> None:
    assert WeightFormat.parse("auto") is None
