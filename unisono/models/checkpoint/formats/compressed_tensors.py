"""compressed-tensors: which of its forms a checkpoint has, by its ``config_groups``.

Which modules are quantised is read from the tensors that are there. The lists ``targets`` and
``ignore`` say the same in regular expressions, and those of a stranger are not evaluated. What the
groups say of activations and of the KV cache is not applied: both stay in the model's dtype.

Source: github.com/vllm-project/compressed-tensors, version 0.20, ``quantization`` and
``compressors``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from torch import Tensor

from unisono.core.errors import CheckpointError, UnsupportedModelError
from unisono.hardware.weights.held_weight import HeldFormat, HeldWeight
from unisono.models.checkpoint.formats import pack_quantized, plain_quantized
from unisono.models.checkpoint.formats.float4 import Float4Quantized
from unisono.models.checkpoint.formats.grouped_levels import LevelGroups
from unisono.models.checkpoint.formats.pack_quantized import PackQuantized
from unisono.models.checkpoint.formats.plain_quantized import FloatQuantized, IntQuantized
from unisono.models.checkpoint.formats.stored_checks import Shape, Shapes, block_size, misfit
from unisono.models.checkpoint.formats.stored_format import StoredFormat
from unisono.models.raw_config import RawConfig

_FLOAT4 = {"mxfp4-pack-quantized": True, "nvfp4-pack-quantized": False}
_FORMS = (pack_quantized.FORM, *plain_quantized.FORMS, *_FLOAT4)
_SUPPORTED = f"Read are the forms {', '.join(_FORMS)}, of 4 and 8 bits."
_UNUSED = (
    *("input_scale", "input_zero_point", "input_global_scale", "output_scale"),
    *("output_zero_point", "k_scale", "v_scale", "q_scale", "k_zero_point", "v_zero_point"),
)


class Form(Protocol):
    """The stored form of the weights of one group of modules."""

    def layout(self, shape: Shape) -> dict[str, Shape]:
        """The tensors that stand for a weight [N, K], by last part of the name."""

    def held(self, shape: Shape) -> HeldFormat:
        """The held format of such a weight."""

    def unpack(self, name: str, shape: Shape, pieces: Mapping[str, Tensor]) -> HeldWeight:
        """The weight from tensors of these shapes; raises CheckpointError."""


class CompressedTensors(StoredFormat):
    """A checkpoint's forms."""

    pieces: ClassVar[tuple[str, ...]] = (
        *("weight_packed", "weight", "weight_scale", "weight_zero_point", "weight_g_idx"),
        *("weight_shape", "weight_global_scale"),
    )
    ignored: ClassVar[tuple[str, ...]] = _UNUSED

    def __init__(self, forms: tuple[Form, ...]) -> None:
        self.forms = forms

    @classmethod
    def read(cls, config: RawConfig) -> CompressedTensors:
        if config.mapping("transform_config"):
            raise _unsupported("The checkpoint has a transform_config")
        if config.mapping("sparsity_config").get("format", "dense") != "dense":
            raise _unsupported("The checkpoint has a sparsity_config")
        groups = config.mapping("config_groups")
        forms = (_read_group(name, groups, config) for name in groups)
        found = tuple(dict.fromkeys(form for form in forms if form is not None))
        if not found:
            raise CheckpointError(f"{config.source} has no config_groups with weights.")
        return cls(found)

    def format_of(self, name: str, shape: Shape, pieces: Shapes) -> HeldFormat:
        return self._form_of(name, shape, pieces).held(shape)

    def _form_of(self, name: str, shape: Shape, pieces: Shapes) -> Form:
        found = {piece: dimensions or (1,) for piece, dimensions in pieces.items()}
        for form in self.forms:
            if form.layout(shape) == found:
                return form
        raise misfit(name, shape, pieces)

    def unpack(self, name: str, shape: Shape, pieces: Mapping[str, Tensor]) -> HeldWeight:
        form = self._form_of(name, shape, {p: tuple(t.shape) for p, t in pieces.items()})
        return form.unpack(name, shape, pieces)


def _read_group(name: str, groups: dict[str, Any], config: RawConfig) -> Form | None:
    """The form of a group's weights; None where it leaves them alone."""
    if not isinstance(groups[name], dict):
        raise CheckpointError(f"{config.source}: config_groups.{name:.40} must be an object.")
    group = RawConfig(groups[name], f"{config.source}: config_groups.{name:.40}")
    form = group.get("format") or config.get("format", pack_quantized.FORM)
    if form not in _FORMS:
        raise _unsupported(f"The checkpoint's form is {form!r:.40}")
    weights = RawConfig(group.mapping("weights"), f"{group.source}.weights")
    if not weights.values:
        return None
    if weights.get("dynamic", False) is not False:
        raise _unsupported("The checkpoint's scales are dynamic")
    return _read_form(form, weights)


def _read_form(form: str, weights: RawConfig) -> Form:
    kind, bits = weights.get("type", "int"), weights.integer("num_bits", 8)
    if form in _FLOAT4 and (kind, bits) == ("float", 4):
        return Float4Quantized(is_mx=_FLOAT4[form])
    if form in plain_quantized.FORMS and (kind, bits) == ("float", 8):
        return _float8_form(form, weights)
    if form in plain_quantized.FORMS and (kind, bits) == ("int", 8):
        return IntQuantized(_level_groups(weights, bits), _strategy(weights) == "tensor")
    if form == pack_quantized.FORM and (kind, bits) in (("int", 4), ("int", 8)):
        if _strategy(weights) == "tensor":
            raise _unsupported("The checkpoint has packed levels and one scale for each tensor")
        return PackQuantized(_level_groups(weights, bits))
    raise _unsupported(f"The checkpoint has weights of {bits} bits, {kind!r:.20}, as {form}")


def _float8_form(form: str, weights: RawConfig) -> FloatQuantized:
    strategy = _strategy(weights)
    if strategy == "tensor":
        return FloatQuantized((None, None))
    if strategy == "channel":
        return FloatQuantized((1, None))
    if strategy == "group":
        size = weights.integer("group_size")
        return FloatQuantized((1, size), exponents=form == "mxfp8-quantized")
    block = block_size(weights, "block_structure") if strategy == "block" else None
    if block is None:
        raise _unsupported(f"The checkpoint has one scale for each {strategy!s:.20}")
    return FloatQuantized(block)


def _level_groups(weights: RawConfig, bits: int) -> LevelGroups:
    order = weights.get("actorder") or None
    if order not in (None, "weight", "static", "group", "dynamic", True):
        raise _unsupported(f"The checkpoint has its inputs in another order ({order!r:.20})")
    strategy = _strategy(weights)
    if strategy not in ("tensor", "channel", "group"):
        raise _unsupported(f"The checkpoint has one scale for each {strategy!s:.20}")
    return LevelGroups(
        bits=bits,
        symmetric=weights.flag("symmetric", True),
        group_size=weights.integer("group_size") if strategy == "group" else None,
        ordered=order in ("group", "dynamic", True),
    )


def _strategy(weights: RawConfig) -> Any:
    """For what there is a scale; as the library infers it where it is not said."""
    strategy, size = weights.get("strategy"), weights.get("group_size")
    if strategy is None:
        return "tensor" if size is None else "channel" if size == -1 else "group"
    return strategy


def _unsupported(what: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"{what}, which is not read.", hint=_SUPPORTED)
