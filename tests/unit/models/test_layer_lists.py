"""Per-layer lists of a configuration: read in one way, and refused with one error."""

from __future__ import annotations

from typing import Any

import pytest

from unisono.core.errors import LayerListError
from unisono.models import RawConfig
from unisono.models.expert_config import sparse_layers, stepped_layers
from unisono.models.families.deepseek import choosing_layers
from unisono.models.hybrid import read_recurrent


def config(**fields: Any) -> RawConfig:
    return RawConfig({"num_hidden_layers": 3, **fields})


def test_lists_that_fit() -> None:
    assert config(layer_types=["a", "b", "a"]).per_layer("layer_types", "a", "b") == ["a", "b", "a"]
    assert config(layer_types=[]).per_layer("layer_types", "a") == []
    assert config().per_layer("layer_types", "a") == []
    assert config(turns=[1, 0, 1]).per_layer("turns", 0, 1) == [1, 0, 1]
    assert config(layers=[2, 0]).layer_numbers("layers") == {0, 2}
    assert config().layer_numbers("layers") is None
    assert choosing_layers(config(index_topk_pattern="FSF")) == {0, 2}
    assert sparse_layers(config(mlp_layer_types=["dense", "sparse", "sparse"])) == {1, 2}
    kinds = config(layer_types=["x", "attention", "x"])
    assert read_recurrent(kinds, ("x",), [True] * 3) == (True, False, True)


@pytest.mark.parametrize("value", ["all", 7, {}, [[]] * 3, ["a"], ["a"] * 4, ["a", "b", "c"]])
def test_other_lists_are_refused_in_one_way(value: Any) -> None:
    with pytest.raises(LayerListError) as caught:
        config(kinds=value).per_layer("kinds", "a", "b")
    says = "config.json: kinds must be a list that says a or b for each of 3 layers, is "
    assert caught.value.message == f"{says}{value!r}."


@pytest.mark.parametrize("value", ["all", 7, {}, [[]], ["1"], [None]])
def test_other_numbers_of_layers_are_refused(value: Any) -> None:
    with pytest.raises(LayerListError, match="mlp_only_layers must be a list of numbers of layers"):
        stepped_layers(config(mlp_only_layers=value))


@pytest.mark.parametrize("value", [["F", "S"], ["full", 7, "full"], "FXF", 7, "SFF"])
def test_layers_that_choose_are_refused_in_the_same_way(value: Any) -> None:
    with pytest.raises(LayerListError, match=r"indexer_types must .*say"):
        choosing_layers(config(index_topk_pattern=value))
