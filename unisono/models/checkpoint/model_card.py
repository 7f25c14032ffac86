"""The page that goes with quantised weights: what they were made from, how, and what reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from unisono import __version__
from unisono.core.config import format_bytes
from unisono.core.weight_format import WeightFormat

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_PAGE = """---
{front}---
# {name}

{source}, its linear weights rounded to {format} by `unisono quantize` (unisono {version}).

| | |
|---|---|
| linear weights | {num_quantized} matrices, {layers}: {bits:.2f} bits each, all told |
| head | {head} |
| everything else | as it was |
| size | {after}, from {before} |

Each weight is rounded to the nearest level; for 4 bits, the range of a group is the one of a few
that gives the least squared error. No data were used for calibration. The form is that of
[compressed-tensors](https://github.com/vllm-project/compressed-tensors), `pack-quantized`.

```
unisono run ./{name} "Why is the sky blue?"
```

transformers reads it too, with `pip install compressed-tensors`. The licence is that of the
original.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantizedFolder:
    """The result of quantising."""

    folder: Path
    format: str
    num_quantized: int
    """Linear weights."""
    bits_per_weight: float
    """Bits per quantised weight, with scales, zeros and shapes."""
    bytes_before: int
    bytes_after: int
    """Bytes of all tensors."""


def model_card(
    result: QuantizedFolder, *, source: str, layers: WeightFormat, head: WeightFormat | None
) -> str:
    """Markdown, with the fields that hubs read at its top."""
    front = "library_name: transformers\ntags:\n- compressed-tensors\n- unisono\n"
    if _HUB_ID.fullmatch(source):
        front = f"base_model: {source}\nbase_model_relation: quantized\n{front}"
    return _PAGE.format(
        front=front,
        name=result.folder.name,
        source=source,
        format=result.format,
        version=__version__,
        num_quantized=result.num_quantized,
        layers=_words(layers),
        bits=result.bits_per_weight,
        head="as it was, shared with the embedding" if head is None else _words(head),
        before=format_bytes(result.bytes_before),
        after=format_bytes(result.bytes_after),
    )


def _words(format: WeightFormat) -> str:
    kind = "symmetric" if format.symmetric else "with zero points"
    return f"{format.bits} bits, {kind}, groups of {format.group_size} with a bfloat16 scale"
