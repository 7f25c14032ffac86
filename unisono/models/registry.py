"""Finds the family that reads a checkpoint. A new family is its file and a line here."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager

from unisono.core.errors import CheckpointError, UnsupportedModelError
from unisono.models.config import ModelConfig
from unisono.models.decoder import Decoder
from unisono.models.raw_config import RawConfig

_FAILURES = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
_DAMAGED = (
    "Compare the file with the one on the model's page; was it changed or cut, fetch it again."
)

FAMILIES = {
    "AfmoeForCausalLM": "unisono.models.families.afmoe:Afmoe",
    "ApertusForCausalLM": "unisono.models.families.apertus:Apertus",
    "ArceeForCausalLM": "unisono.models.families.llama:Arcee",
    "BambaForCausalLM": "unisono.models.families.bamba:Bamba",
    "Cohere2ForCausalLM": "unisono.models.families.cohere:Cohere2",
    "CohereForCausalLM": "unisono.models.families.cohere:Cohere",
    "DeepseekV2ForCausalLM": "unisono.models.families.deepseek:DeepseekV2",
    "DeepseekV32ForCausalLM": "unisono.models.families.deepseek:DeepseekV32",
    "DeepseekV3ForCausalLM": "unisono.models.families.deepseek:DeepseekV3",
    "Dots1ForCausalLM": "unisono.models.families.glm:Dots1",
    "Ernie4_5ForCausalLM": "unisono.models.families.ernie:Ernie4_5",
    "Ernie4_5_ForCausalLM": "unisono.models.families.ernie:Ernie4_5",
    "Ernie4_5_MoeForCausalLM": "unisono.models.families.ernie:Ernie4_5Moe",
    "Exaone4ForCausalLM": "unisono.models.families.exaone:Exaone4",
    "ExaoneMoeForCausalLM": "unisono.models.families.exaone:ExaoneMoe",
    "FlexOlmoForCausalLM": "unisono.models.families.olmo:FlexOlmo",
    "Gemma2ForCausalLM": "unisono.models.families.gemma:Gemma2",
    "Gemma3ForCausalLM": "unisono.models.families.gemma:Gemma3",
    "Gemma3ForConditionalGeneration": "unisono.models.families.gemma:Gemma3",
    "Gemma4ForCausalLM": "unisono.models.families.gemma4:Gemma4",
    "Gemma4ForConditionalGeneration": "unisono.models.families.gemma4:Gemma4",
    "GemmaForCausalLM": "unisono.models.families.gemma:Gemma",
    "Glm4ForCausalLM": "unisono.models.families.glm:Glm4",
    "Glm4MoeForCausalLM": "unisono.models.families.glm:Glm4Moe",
    "Glm4MoeLiteForCausalLM": "unisono.models.families.deepseek:Glm4MoeLite",
    "GlmForCausalLM": "unisono.models.families.glm:Glm",
    "GlmMoeDsaForCausalLM": "unisono.models.families.deepseek:GlmMoeDsa",
    "GptOssForCausalLM": "unisono.models.families.gpt_oss:GptOss",
    "GraniteForCausalLM": "unisono.models.families.granite:Granite",
    "GraniteMoeHybridForCausalLM": "unisono.models.families.bamba:GraniteHybrid",
    "GraniteMoeForCausalLM": "unisono.models.families.granite:GraniteMoe",
    "GraniteMoeSharedForCausalLM": "unisono.models.families.granite:GraniteMoe",
    "HeliumForCausalLM": "unisono.models.families.llama:Helium",
    "HunYuanDenseV1ForCausalLM": "unisono.models.families.hunyuan:HunYuanDense",
    "HunYuanMoEV1ForCausalLM": "unisono.models.families.hunyuan:HunYuanMoe",
    "HyperCLOVAXForCausalLM": "unisono.models.families.granite:HyperClovaX",
    "InternLM3ForCausalLM": "unisono.models.families.llama:InternLM3",
    "Jais2ForCausalLM": "unisono.models.families.starcoder2:Jais2",
    "KimiK25ForConditionalGeneration": "unisono.models.families.deepseek:KimiK25",
    "Kimi_K25ForConditionalGeneration": "unisono.models.families.deepseek:KimiK25",
    "Lfm2ForCausalLM": "unisono.models.families.lfm2:Lfm2",
    "Lfm2MoeForCausalLM": "unisono.models.families.lfm2:Lfm2Moe",
    "Llama4ForCausalLM": "unisono.models.families.llama4:Llama4",
    "Llama4ForConditionalGeneration": "unisono.models.families.llama4:Llama4",
    "LlamaForCausalLM": "unisono.models.families.llama:Llama",
    "MiniCPM3ForCausalLM": "unisono.models.families.minicpm:MiniCPM3",
    "MiniCPMForCausalLM": "unisono.models.families.minicpm:MiniCPM",
    "MiniMaxM2ForCausalLM": "unisono.models.families.mixtral:MiniMaxM2",
    "Ministral3ForCausalLM": "unisono.models.families.mistral:Ministral3",
    "MinistralForCausalLM": "unisono.models.families.mistral:Mistral",
    "Mistral3ForConditionalGeneration": "unisono.models.families.mistral:Mistral3",
    "Mistral3ForConditionalGeneration (mistral4)": "unisono.models.families.mistral:Mistral4",
    "Mistral4ForCausalLM": "unisono.models.families.mistral:Mistral4",
    "MistralForCausalLM": "unisono.models.families.mistral:Mistral",
    "MixtralForCausalLM": "unisono.models.families.mixtral:Mixtral",
    "NemotronForCausalLM": "unisono.models.families.starcoder2:Nemotron",
    "Olmo2ForCausalLM": "unisono.models.families.olmo:Olmo2",
    "Olmo3ForCausalLM": "unisono.models.families.olmo:Olmo3",
    "OlmoeForCausalLM": "unisono.models.families.olmo:Olmoe",
    "Phi3ForCausalLM": "unisono.models.families.phi3:Phi3",
    "PhiForCausalLM": "unisono.models.families.phi:Phi",
    "Qwen2ForCausalLM": "unisono.models.families.qwen2:Qwen2",
    "Qwen2MoeForCausalLM": "unisono.models.families.qwen2:Qwen2Moe",
    "Qwen3ForCausalLM": "unisono.models.families.qwen3:Qwen3",
    "Qwen3MoeForCausalLM": "unisono.models.families.qwen3:Qwen3Moe",
    "Qwen3NextForCausalLM": "unisono.models.families.qwen3_next:Qwen3Next",
    "Qwen3VLMoeForConditionalGeneration": "unisono.models.families.qwen3:Qwen3VLMoe",
    "Qwen3_5ForCausalLM": "unisono.models.families.qwen3_next:Qwen35",
    "Qwen3_5ForConditionalGeneration": "unisono.models.families.qwen3_next:Qwen35",
    "Qwen3_5MoeForCausalLM": "unisono.models.families.qwen3_next:Qwen35Moe",
    "Qwen3_5MoeForConditionalGeneration": "unisono.models.families.qwen3_next:Qwen35Moe",
    "SeedOssForCausalLM": "unisono.models.families.llama:SeedOss",
    "SmolLM3ForCausalLM": "unisono.models.families.llama:SmolLM3",
    "SolarOpenForCausalLM": "unisono.models.families.glm:SolarOpen",
    "StableLmForCausalLM": "unisono.models.families.starcoder2:StableLm",
    "Starcoder2ForCausalLM": "unisono.models.families.starcoder2:Starcoder2",
    "VaultGemmaForCausalLM": "unisono.models.families.gemma:VaultGemma",
    "YoutuForCausalLM": "unisono.models.families.deepseek:Youtu",
}


_TYPES = {
    re.sub(r"For[A-Z]\w+|_", "", name).lower(): name for name in FAMILIES if "(" not in name
} | {
    "hunyuanv1dense": "HunYuanDenseV1ForCausalLM",
    "hunyuanv1moe": "HunYuanMoEV1ForCausalLM",
}
"""``model_type``, as ``_plain_type`` writes it -> the architecture that generates text."""

_TEXT_BEHIND_IMAGES = frozenset(
    {
        *("aya_vision", "cohere2_vision", "idefics3", "internvl", "lfm2_vl"),
        *("llava", "llava_next", "llava_onevision", "smolvlm", "vipllava"),
    }
)
"""Types of models that hand what they see to an ordinary language model, as if it were tokens; its
configuration is ``text_config``. Others mask or rotate tokens of images in their own way."""


def find_family(raw: RawConfig) -> type[Decoder]:
    """The family named in ``architectures``; where none is named, or another head of a family
    (``LlamaForSequenceClassification``), the one that ``model_type`` names.

    Raises:
        UnsupportedModelError: unknown; the hint names some that are known. Code that a checkpoint
            brings along for an architecture of its own is never imported.
    """
    return _find(raw)[0]


def _find(raw: RawConfig) -> tuple[type[Decoder], RawConfig]:
    """The family, and the part of the configuration that is for it."""
    names = raw.list_of("architectures", str)
    if name := _known_name(raw, names) or _name_by_type(raw, names):
        return _family(name), raw
    text = raw.text()
    if raw.get("model_type") in _TEXT_BEHIND_IMAGES and text is not raw:
        own_names = text.list_of("architectures", str)
        if name := _known_name(text, own_names) or _name_by_type(text, own_names):
            return _family(name), text
    raise _unknown(raw, names)


def _family(name: str) -> type[Decoder]:
    module, _, cls = FAMILIES[name].partition(":")
    family: type[Decoder] = getattr(importlib.import_module(module), cls)
    return family


def _known_name(raw: RawConfig, names: list[str]) -> str | None:
    """The first of ``names`` that is known, alone or with the model type of the text part."""
    text_type = raw.text().get("model_type")
    candidates = (f"{name}{of_text}" for name in names for of_text in (f" ({text_type})", ""))
    return next((name for name in candidates if name in FAMILIES), None)


def _name_by_type(raw: RawConfig, names: list[str]) -> str | None:
    """The architecture of the model type, if ``names`` are empty or heads of the same family."""
    types = (raw.get("model_type"), raw.text().get("model_type"))
    for name in (_TYPES.get(_plain_type(type)) for type in types if isinstance(type, str)):
        if name and (not names or any(_stem(other) == _stem(name) for other in names)):
            return _known_name(raw, [name])
    return None


def _plain_type(model_type: str) -> str:
    return re.sub(r"_text$|[_-]", "", model_type).lower()


def _stem(architecture: str) -> str:
    """Less the head: a causal language model of an unknown name is another network."""
    return re.sub(r"(For(?!CausalLM.)[A-Z]\w+|Model)$", "", architecture)


def _unknown(raw: RawConfig, names: list[str]) -> UnsupportedModelError:
    if not names:
        kind = raw.get("model_type")
        return UnsupportedModelError(
            f"{raw.source} names no architecture"
            + ("." if kind is None else f", and its model_type {kind!r:.80} is not known."),
            hint=_known([] if kind is None else [str(kind)]),
        )
    own_code = " The checkpoint brings code for it (auto_map), which is never run."
    return UnsupportedModelError(
        f"Architecture {', '.join(names)[:200]} is not known."
        + (own_code if raw.mapping("auto_map") else ""),
        hint=_known(names),
    )


def read_family(raw: RawConfig) -> tuple[type[Decoder], ModelConfig]:
    """The family as ``find_family`` finds it, and its reading of the rest.

    Raises:
        UnsupportedModelError, CheckpointError: what is wrong, and where to look.
    """
    with making_sense_of(raw):
        family, own = _find(raw)
        return family, family.read_config(own)


@contextmanager
def making_sense_of(raw: RawConfig) -> Iterator[None]:
    """Around what is made of a configuration: numbers that are each possible may together describe
    no model, and whatever fails then is the file's fault.

    Raises:
        CheckpointError: what failed, and where to look.
    """
    try:
        yield
    except CheckpointError as error:
        error.hint = error.hint or _DAMAGED
        raise
    except _FAILURES as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise CheckpointError(
            f"{raw.source} describes a model that cannot be made ({reason:.200}).", hint=_DAMAGED
        ) from error


def _known(names: list[str]) -> str:
    """The number of families, those named like the first of ``names``, and where all are."""
    near = ", ".join(difflib.get_close_matches("".join(names[:1]), sorted(FAMILIES), n=3))
    return f"Known are {len(FAMILIES)}{near and f', nearest {near}'}. docs/models.md lists all."
