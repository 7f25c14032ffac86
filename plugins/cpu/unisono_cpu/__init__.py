"""unisono-cpu: native kernels for CPUs, called by pointer over torch tensors."""

from unisono_cpu.decoder import DecoderShape, LayerWeights, NativeDecoder, TableRows, Turns
from unisono_cpu.library import available_isas
from unisono_cpu.ops import (
    PagedStep,
    add_rms_norm,
    argmax,
    attention,
    draw,
    embedding,
    experts,
    isa,
    kv_write,
    linear,
    mlp,
    products_per_s,
    read,
    rotary_heads,
    set_isa,
    set_threads,
    silu_mul,
    threads,
)
from unisono_cpu.processor import choose_isa
from unisono_cpu.weights import FORMATS, LAYOUT, PackedWeight, pack, pack_levels, packed_bytes

__all__ = [
    "FORMATS",
    "LAYOUT",
    "DecoderShape",
    "LayerWeights",
    "NativeDecoder",
    "PackedWeight",
    "PagedStep",
    "TableRows",
    "Turns",
    "add_rms_norm",
    "argmax",
    "attention",
    "available_isas",
    "draw",
    "embedding",
    "experts",
    "isa",
    "kv_write",
    "linear",
    "mlp",
    "pack",
    "pack_levels",
    "packed_bytes",
    "products_per_s",
    "read",
    "rotary_heads",
    "set_isa",
    "set_threads",
    "silu_mul",
    "threads",
]

choose_isa()
