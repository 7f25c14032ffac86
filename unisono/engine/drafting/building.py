"""From a configuration to what drafts for an engine."""

from __future__ import annotations

from pathlib import Path

from unisono.core.config import SPECULATION_HINT, EngineConfig
from unisono.core.errors import ConfigError
from unisono.core.folder_files import read_bytes, read_json_object
from unisono.engine.drafting.drafter import Drafter
from unisono.engine.drafting.model_drafter import ModelDrafter
from unisono.engine.drafting.ngram import NgramDrafter
from unisono.engine.drafting.speculation import Speculation
from unisono.engine.memory_plan import MemoryPlan, layer_caches
from unisono.engine.model_runner import SCORED_ROWS, ModelRunner
from unisono.engine.pages import PageLayout
from unisono.hardware.base import Hardware
from unisono.models.checkpoint.plan import WeightPlan
from unisono.models.loading import LoadedModel, Reserve, load_model
from unisono.models.step_memory import LargestStep, step_bytes

_MAX_TOKENIZER_BYTES = 1 << 28


def make_speculation(
    folder: Path, config: EngineConfig, hardware: Hardware, loaded: LoadedModel, memory: MemoryPlan
) -> Speculation | None:
    """None: nothing is drafted.

    Raises:
        ConfigError: a drafter that there is not, or a model that cannot draft for this one.
        ModelError: the folder of the draft model cannot be used.
        InsufficientMemoryError: the device has no room for it.
    """
    if config.speculate == "off":
        return None
    drafter: Drafter = NgramDrafter()
    if config.speculate != "ngram":
        drafter = _model(folder, config, hardware, loaded, memory)
    return Speculation(drafter, config.speculate_tokens, loaded.eos_token_ids)


def _model(
    folder: Path, config: EngineConfig, hardware: Hardware, large: LoadedModel, memory: MemoryPlan
) -> ModelDrafter:
    small = Path(config.speculate)
    if not small.exists():
        raise ConfigError(
            f"No drafter and no model is called {config.speculate!r}.",
            hint=f"Use {SPECULATION_HINT}.",
        )
    if config.tensor_parallel > 1:
        raise ConfigError("A draft model does not go with --tp.", hint="Use --speculate ngram.")
    whole = [g for g, group in enumerate(memory.pages.groups) if group.kind in ("full", "latent")]
    if not whole:
        raise ConfigError(
            f"{large.model_type} remembers no whole text, whose blocks a draft model needs.",
            hint="Use --speculate ngram.",
        )
    pages: PageLayout | None = None

    def reserve(plan: WeightPlan) -> Reserve:
        nonlocal pages
        pages = _pages(plan, memory, config.speculate)
        largest = LargestStep(
            num_tokens=config.max_num_batched_tokens,
            num_rows=config.max_num_seqs,
            num_scored=SCORED_ROWS,
            context=memory.max_model_len,
        )
        num_bytes = memory.num_blocks * pages.bytes_per_block
        return Reserve(kv_bytes=num_bytes, step_bytes=step_bytes(plan.model, largest))

    loaded = load_model(
        small,
        hardware,
        dtype=config.dtype,
        reserve=reserve,
        weights=config.weights,
        weight_cache=config.weight_cache,
    )
    _check_vocabulary(folder, small, large, loaded)
    assert pages is not None
    runner = ModelRunner(loaded, hardware, pages=pages, num_blocks=memory.num_blocks)
    return ModelDrafter(
        runner,
        group=whole[0],
        chunk=config.max_num_batched_tokens,
        vocab_size=large.model.config.vocab_size,
    )


def _pages(plan: WeightPlan, memory: MemoryPlan, name: str) -> PageLayout:
    """The layout of the draft model's cache in blocks of the large one's."""
    pages = PageLayout.of(layer_caches(plan.model, plan.dtype, "auto"), memory.pages.block_size)
    if len(pages.groups) > 1 or pages.groups[0].kind not in ("full", "latent"):
        raise ConfigError(
            f"The model in {name} has windows or states, with which it cannot draft.",
            hint="Take one whose layers all remember the whole text, or --speculate ngram.",
        )
    return pages


def _check_vocabulary(folder: Path, small: Path, large: LoadedModel, loaded: LoadedModel) -> None:
    """Raises ConfigError: tokens of the two models are not the same, as far as their files say."""
    sizes = [each.model.config.vocab_size for each in (large, loaded)]
    vocabularies = [_vocabulary(each) for each in (folder, small)]
    is_same = sizes[0] == sizes[1]
    if None not in vocabularies:
        is_same = vocabularies[0] == vocabularies[1]
    if not is_same:
        raise ConfigError(
            f"The draft model in {small} has another vocabulary ({sizes[1]} tokens) than the model "
            f"({sizes[0]} tokens).",
            hint="Take a smaller model of the same family, or --speculate ngram.",
        )


def _vocabulary(folder: Path) -> object:
    """Anything that is equal where vocabularies are; None: the folder does not say."""
    tokenizer = read_json_object(folder / "tokenizer.json", _MAX_TOKENIZER_BYTES)
    model = tokenizer.get("model")
    if isinstance(model, dict) and "vocab" in model:
        return model["vocab"]
    return read_bytes(folder / "tokenizer.model", _MAX_TOKENIZER_BYTES)
