"""Every op in plain torch: the reference, and what any device runs until it has better.

A hardware subclasses ``PortableOps`` and overrides what it does better. The methods under
"compositions" are written in terms of the finer ones, so overriding a fine op speeds them up, and
overriding a composition replaces the whole. Callers use the coarsest there is.

Shapes: T tokens of a step (all rows packed), H hidden size, D head size, Hq/Hk query and
key-value heads, V vocabulary, R rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unisono.core.weight_format import WeightFormat
from unisono.hardware.ops.activations import ACTIVATIONS, clamped_swiglu
from unisono.hardware.ops.experts import Expert, Routing, choose_experts, run_experts
from unisono.hardware.ops.latent_attention import LatentAttentionOps
from unisono.hardware.ops.paged_attention import PagedAttentionOps
from unisono.hardware.ops.recurrent_ops import RecurrentOps
from unisono.hardware.ops.standard import Standard
from unisono.hardware.ranks import collectives
from unisono.hardware.ranks.collectives import Group
from unisono.hardware.weights.block_weight import BlockWeight
from unisono.hardware.weights.held_weight import HeldWeight
from unisono.hardware.weights.packed_form import PackedForm
from unisono.hardware.weights.quantized import quantize
from unisono.hardware.weights.reordered_weight import ReorderedWeight
from unisono.hardware.weights.stacked_weight import StackedWeight

OP_TABLE_VERSION = 4
_SPAN = 512
_SORTED_AT_ONCE = 1 << 21
"""Logits, in memory at a time."""


class PortableOps(PagedAttentionOps, LatentAttentionOps, RecurrentOps):
    """The op table. Differentiable where training needs it; no op changes its inputs but
    those that write the cache (``kv_write``, ``latent_write``, those of ``recurrent_ops.py``) and
    ``all_reduce``."""

    fallbacks: Mapping[str, int] = MappingProxyType({})
    """Calls that ran as the reference though the op has a faster form here, by what was called."""

    # -- weights ----------------------------------------------------------------------------

    block_bits: Mapping[str, float] = MappingProxyType({})
    """Bits of a weight in a block format, by ggml's name of it, where ``prepare_quantized`` gives
    it a form of another size."""

    packed_form: PackedForm | None = None
    """Form of quantised weights kept for the next start; None: each start quantises."""

    def prepare_linear(self, weight: Tensor, format: WeightFormat | None = None) -> Any:
        """The form in which ``linear`` likes a loaded weight [N, K]: as it is, or quantised.

        Called once a weight, when it is complete; the result takes the weight's place. One that is
        no tensor has ``num_bytes``.
        """
        return weight if format is None else self.prepare_quantized(quantize(weight, format))

    def prepare_quantized(self, weight: HeldWeight) -> Any:
        """The form in which ``linear`` likes a weight that is quantised here, or as a checkpoint
        holds it. With a ``LevelWeight`` ``linear`` may round activations to 8 bits, by the
        groups of the weight."""
        if isinstance(weight, StackedWeight):
            return StackedWeight(tuple(self.prepare_quantized(part) for part in weight.parts))
        if isinstance(weight, ReorderedWeight):
            return ReorderedWeight(weight.order, self.prepare_quantized(weight.weight))
        return weight

    def linear(self, x: Tensor, weight: Any, bias: Tensor | None = None) -> Tensor:
        """x [..., K] @ weight[N, K]^T + bias [N]; the weight object decides how."""
        if isinstance(weight, Tensor):
            return F.linear(x, weight, bias)
        if isinstance(weight, ReorderedWeight):
            return self.linear(x.index_select(-1, weight.order), weight.weight, bias)
        slices = weight.slices()
        biases = [None if bias is None else bias[start:stop] for start, stop in slices]
        if isinstance(weight, StackedWeight):
            outputs = [self.linear(x, *each) for each in zip(weight.parts, biases, strict=True)]
        else:
            outputs = [
                F.linear(x, weight.rows(start, stop, x.dtype), part)
                for (start, stop), part in zip(slices, biases, strict=True)
            ]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)

    def logits(self, x: Tensor, weight: Any, bias: Tensor | None = None) -> Tensor:
        """``linear`` over the vocabulary, x [..., K] -> float32 [..., N]. Kernels need not round to
        the dtype of x before: likely tokens then tie less often."""
        return self.linear(x, weight, bias).float()

    def embedding(self, token_ids: Tensor, table: Any) -> Tensor:
        """Rows of ``table`` [V, H] for ids [T] -> [T, H]; one that is no tensor looks them up."""
        if isinstance(table, BlockWeight):
            return table.look_up(token_ids)
        return F.embedding(token_ids, table)

    # -- elementwise and norms --------------------------------------------------------------

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """x / sqrt(mean(x^2) + eps) * weight over the last dimension, in float32 inside
        (Zhang and Sennrich, 2019). The weight may be float32 where x is not."""
        if weight.dtype == x.dtype:
            return F.rms_norm(x, (x.shape[-1],), weight, eps)
        return F.rms_norm(x.float(), (x.shape[-1],), weight.float(), eps).to(x.dtype)

    def layer_norm(self, x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
        """(x - mean(x)) / sqrt(var(x) + eps) * weight + bias over the last dimension, in float32
        inside (Ba et al., 2016). Weight and bias may be float32 where x is not."""
        if weight.dtype == x.dtype:
            return F.layer_norm(x, x.shape[-1:], weight, bias, eps)
        bias = None if bias is None else bias.float()
        return F.layer_norm(x.float(), x.shape[-1:], weight.float(), bias, eps).to(x.dtype)

    def act(self, x: Tensor, kind: str) -> Tensor:
        """The activation ``kind`` (of ``ACTIVATIONS``) of each entry."""
        return ACTIVATIONS[kind](x)

    def silu_mul(self, gate_up: Tensor) -> Tensor:
        """silu(first half) * second half of the last dimension (SwiGLU; Shazeer, 2020)."""
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate) * up

    def rope(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Rotate the first 2*P of D dimensions of x [T, heads, D], in halves (Su et al., 2021).

        cos, sin: float32 [T, P], the attention scale of the rope variant in them.
        """
        half = cos.shape[-1]
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        turning, rest = x[..., : 2 * half], x[..., 2 * half :]
        first, second = torch.split(turning, half, -1)
        out = torch.unflatten(turning, -1, (2, half)) * cos.unsqueeze(1)  # float32, as the angles
        out.select(-2, 0).addcmul_(second, sin, value=-1)
        out.select(-2, 1).addcmul_(first, sin)
        turned = out.flatten(-2)
        return (torch.cat((turned, rest), -1) if rest.shape[-1] else turned).to(x.dtype)

    # -- mixtures of experts ----------------------------------------------------------------

    stacks_experts: bool = True
    """True where ``moe_experts`` gets ``StackedExperts`` where the weights are numbers."""

    def moe_route(
        self, logits: Tensor, routing: Routing, correction: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Router logits [T, E] -> the experts of each token, int64 [T, k] with the best first, and
        their weights, float32 [T, k].

        ``correction`` float32 [E] is added to the scores for the choice, and is not in the weights
        (Wang et al., 2024, loss-free balancing).
        """
        return choose_experts(logits, routing, correction)

    def moe_experts(
        self,
        x: Tensor,
        ids: Tensor,
        weights: Tensor,
        experts: Sequence[Expert],
        activation: str = "silu",
    ) -> Tensor:
        """x [T, H] through the experts that ``ids`` [T, k] names, and the sum of what they give,
        weighted by ``weights`` float32 [T, k] -> [T, H]. An expert is
        down(act(gate x) * up x), with ``activation`` of ``ACTIVATIONS``.

        The sum is in float32; a token's result does not depend on the others of the step, as far as
        those of ``linear`` do not.
        """

        def act_mul(gate_up: Tensor) -> Tensor:
            return self.act_mul(gate_up, activation)

        def run(expert: Expert, rows: Tensor) -> Tensor:
            gate_up = self.linear(rows, expert.gate_up, expert.gate_up_bias)
            return self.linear(act_mul(gate_up), expert.down, expert.down_bias)

        return run_experts(x, ids, weights, experts, run, act_mul)

    # -- choosing tokens --------------------------------------------------------------------

    def argmax(self, logits: Tensor) -> Tensor:
        """The first largest of each row: [R, V] -> ids [R]."""
        return logits.argmax(-1)

    def filter_logits(
        self, logits: Tensor, *, top_k: list[int], top_p: list[float], min_p: list[float]
    ) -> Tensor:
        """Logits float32 [R, V] with the unlikely tokens of each row at -inf; one number a row.

        top_k (0 keeps all), then top_p over what is left (Holtzman et al., 2020), then min_p
        (Nguyen et al., 2024). Tokens exactly as likely as the last one kept are kept.
        """
        alike: dict[tuple[int, float, float], list[int]] = {}
        for i, params in enumerate(zip(top_k, top_p, min_p, strict=True)):
            alike.setdefault(params, []).append(i)
        filtered = list(logits)
        for params, members in alike.items():
            rows = torch.stack([logits[i] for i in members]) if len(alike) > 1 else logits
            parts = torch.split(rows, max(1, _SORTED_AT_ONCE // rows.shape[1]))
            kept = [row for part in parts for row in filter_rows(part, *params)]
            for i, row in zip(members, kept, strict=True):
                filtered[i] = row
        return torch.stack(filtered)

    def sample(self, logits: Tensor, uniforms: Tensor) -> Tensor:
        """Inverse CDF in token-id order: the first token whose cumulative probability exceeds
        its row's uniform number. logits float32 [R, V] (filtered tokens are -inf), uniforms
        [R] in [0, 1) -> ids [R]. A token with probability 0 is never chosen.

        Summed in two levels, spans of ``_SPAN`` tokens and tokens within one, so that float32
        sums stay short.
        """
        probabilities = in_spans(torch.softmax(logits, dim=-1), _SPAN, fill=0.0)
        span_sums = probabilities.sum(-1)
        cumulative = span_sums.cumsum(-1)
        target = uniforms.to(logits.dtype) * cumulative[:, -1]
        span = _first_beyond(cumulative, span_sums, target).unsqueeze(1)
        before = (cumulative - span_sums).gather(1, span).squeeze(1)
        inside = probabilities.gather(1, span.unsqueeze(2).expand(-1, 1, _SPAN)).squeeze(1)
        token = _first_beyond(inside.cumsum(-1), inside, target - before)
        return span.squeeze(1) * _SPAN + token

    # -- between the ranks of a model -------------------------------------------------------

    def all_reduce(self, x: Tensor, group: Group) -> Tensor:
        """The sum of every rank's x, on every rank; the same bits on all. x may be overwritten.

        Called by all ranks of the group in the same order, with tensors of one shape and dtype.
        """
        return collectives.all_reduce(x, group)

    def all_gather(self, x: Tensor, group: Group, dim: int) -> Tensor:
        """Every rank's x in order of rank, one behind the other in ``dim``, on every rank."""
        return collectives.all_gather(x, group, dim)

    # -- compositions -----------------------------------------------------------------------

    def act_mul(self, gate_up: Tensor, kind: str) -> Tensor:
        """act(first half) * second half of the last dimension (Shazeer, 2020); or what
        ``clamped_swiglu`` makes of them."""
        if kind == "silu":
            return self.silu_mul(gate_up)
        gate, up = gate_up.chunk(2, dim=-1)
        if kind == "clamped_swiglu":
            return clamped_swiglu(gate, up)
        return self.act(gate, kind) * up

    def add_rms_norm(
        self, x: Tensor, residual: Tensor | None, weight: Tensor, eps: float
    ) -> tuple[Tensor, Tensor]:
        """The residual stream plus x, and its norm: (normed, new residual)."""
        residual = x if residual is None else residual + x
        return self.rms_norm(residual, weight, eps), residual

    def rotary_heads(
        self,
        qkv: Tensor,
        num_heads: int,
        num_kv_heads: int,
        rope: tuple[Tensor, Tensor],
        norms: tuple[Tensor, Tensor, float] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """qkv [T, (Hq + 2 Hk) * D] -> query [T, Hq, D], key and value [T, Hk, D]; query and key
        rotated, and before that normed by head where ``norms`` has weights [D], [D] and eps."""
        heads = qkv.view(qkv.shape[0], num_heads + 2 * num_kv_heads, -1)
        num_rotated = num_heads + num_kv_heads
        rotated, value = heads[:, :num_rotated], heads[:, num_rotated:]
        if norms is not None:
            query, key = rotated[:, :num_heads], rotated[:, num_heads:]
            query_weight, key_weight, eps = norms
            rotated = torch.cat(
                (self.rms_norm(query, query_weight, eps), self.rms_norm(key, key_weight, eps)), 1
            )
        rotated = self.rope(rotated, *rope)
        return rotated[:, :num_heads], rotated[:, num_heads:], value

    def draw(
        self,
        logits: Tensor,
        uniforms: Tensor,
        *,
        top_k: list[int],
        top_p: list[float],
        min_p: list[float],
    ) -> Tensor:
        """``sample`` from what ``filter_logits`` leaves: float32 [R, V] -> ids [R]."""
        filtered = self.filter_logits(logits, top_k=top_k, top_p=top_p, min_p=min_p)
        return self.sample(filtered, uniforms)

    fuses_adapters: bool = False
    """True where what ``fuse`` returns adds adapters, too, and gives rows without one the same bits
    whether or not others have any."""

    # -- whole modules ----------------------------------------------------------------------

    def fuse(self, standard: Standard, forward: Callable[..., Any]) -> Callable[..., Any] | None:
        """A faster function in place of ``forward``, of which ``standard`` says what it computes;
        None: there is none. It may call ``forward`` for what it does not cover.

        Asked once the weights are in place, from the outside in: for the whole decoder, then for
        each layer, attention and MLP. Where it gives something, the finer modules are not asked
        for.
        """
        return None


def in_spans(x: Tensor, span: int, *, fill: float) -> Tensor:
    """[R, V] -> [R, V / span rounded up, span]."""
    missing = -x.shape[1] % span
    return (F.pad(x, (0, missing), value=fill) if missing else x).view(x.shape[0], -1, span)


def _first_beyond(cumulative: Tensor, weights: Tensor, target: Tensor) -> Tensor:
    """Per row [R, N], the first index whose cumulative weight exceeds the target [R]; where
    rounding leaves none, the last that has any weight."""
    index = (cumulative <= target.unsqueeze(1)).sum(-1)
    positions = torch.arange(weights.shape[1], device=weights.device)
    last = torch.where(weights > 0, positions, 0).amax(-1)
    return torch.minimum(index, last)


def filter_rows(logits: Tensor, top_k: int, top_p: float, min_p: float) -> Tensor:
    """``filter_logits`` of rows [R, V] with the same parameters, by sorting them whole."""
    if 0 < top_k < logits.shape[1]:
        logits = keep_from(logits, logits.topk(top_k).values[:, -1:])
    if top_p < 1.0:
        ordered, _ = logits.sort(descending=True)
        log_totals = logits.logsumexp(-1, keepdim=True)
        logits = keep_from(logits, nucleus_threshold(ordered, log_totals, top_p))
    if min_p > 0.0:
        logits = keep_from(logits, logits.amax(-1, keepdim=True) + math.log(min_p))
    return logits


def keep_from(logits: Tensor, threshold: Tensor) -> Tensor:
    """Everything below the threshold at -inf."""
    return logits.masked_fill(logits < threshold, float("-inf"))


def nucleus_threshold(
    ordered: Tensor, log_total: Tensor, top_p: float, before: float = 0.0
) -> Tensor:
    """The smallest logit of each row's nucleus, [..., 1]: of ``ordered`` (descending), the first at
    which the probabilities, exp(logit - log_total), and ``before`` sum to ``top_p``; the last where
    they never do."""
    cumulative = before + (ordered - log_total).exp().double().cumsum(-1)
    index = (cumulative < top_p).sum(-1, keepdim=True).clamp(max=ordered.shape[-1] - 1)
    return ordered.gather(-1, index)
