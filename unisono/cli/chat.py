"""``unisono chat``: a conversation in the terminal."""

from __future__ import annotations

import typer

from unisono.cli.errors import clear_errors
from unisono.cli.options import (
    DeviceOption,
    DtypeOption,
    GenerationConfigOption,
    KvDtypeOption,
    KvMemoryOption,
    MaxModelLenOption,
    MaxTokensOption,
    ModelArgument,
    RevisionOption,
    SeedOption,
    SystemOption,
    TemperatureOption,
    TensorParallelOption,
    ThreadsOption,
    TopKOption,
    TopPOption,
    WeightCacheOption,
    WeightsOption,
)

__all__ = ["chat"]


def chat(
    model: ModelArgument = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    weights: WeightsOption = "auto",
    weight_cache: WeightCacheOption = True,
    tensor_parallel: TensorParallelOption = 1,
    threads: ThreadsOption = None,
    max_tokens: MaxTokensOption = None,
    temperature: TemperatureOption = None,
    top_p: TopPOption = None,
    top_k: TopKOption = None,
    seed: SeedOption = None,
    system: SystemOption = None,
    kv_memory: KvMemoryOption = "auto",
    kv_dtype: KvDtypeOption = "auto",
    max_model_len: MaxModelLenOption = None,
    revision: RevisionOption = None,
    generation_config: GenerationConfigOption = "auto",
) -> None:
    """Talk with a model in the terminal. /help lists what else can be typed.

    \b
    Examples:
      unisono chat Qwen/Qwen3-0.6B
      unisono chat Qwen/Qwen3-0.6B --system "Answer in one sentence." --temperature 0
    """
    with clear_errors():
        from unisono.cli.answering import print_note, start_model
        from unisono.cli.conversation import Conversation, talk
        from unisono.cli.prompt_text import whole_text
        from unisono.core.sampling import SamplingParams
        from unisono.core.sampling_defaults import SamplingDefaults

        params = SamplingParams(
            max_tokens=max_tokens, temperature=temperature, top_p=top_p, top_k=top_k, seed=seed
        )
        system = None if system is None else whole_text(system, "The system message")
        loaded = start_model(
            model,
            device=device,
            dtype=dtype,
            weights=weights,
            weight_cache=weight_cache,
            kv_memory=kv_memory,
            kv_dtype=kv_dtype,
            max_model_len=max_model_len,
            tensor_parallel=tensor_parallel,
            threads=threads,
            revision=revision,
            generation_config=generation_config,
        )
        typer.echo(f"{loaded.name}. /help for help, Ctrl-D to leave.", err=True)
        print_note(loaded)
        params = loaded.fill(params, SamplingDefaults(temperature=0.7, top_p=0.95))
        talk(Conversation(loaded, params, system=system))
