"""``torch.compile(backend="virtual")``: the graph of aten ops, run op by op on the device.

Nothing is fused away, so the clock and planted faults see every op, forward and backward.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.partitioners import min_cut_rematerialization_partition


def _keep(graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
    forward: Callable[..., Any] = torch._dynamo.backends.debugging.boxed_nop(graph, inputs)
    return forward


virtual = aot_autograd(
    fw_compiler=_keep, bw_compiler=_keep, partition_fn=min_cut_rematerialization_partition
)
