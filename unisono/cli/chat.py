"""``unisono chat``: a conversation in the terminal."""

from __future__ import annotations

import typer

from unisono.cli.constraint_options import LANGUAGE, Language
from unisono.cli.option_groups import takes
from unisono.cli.options import (
    ENGINE,
    SAMPLING,
    AdapterOption,
    GenerationConfigOption,
    ModelArgument,
    RevisionOption,
    SystemOption,
)
from unisono.core.config import EngineConfig
from unisono.core.sampling import SamplingParams
from unisono.core.sampling_defaults import SamplingDefaults


@takes(engine=ENGINE, params=SAMPLING, language=LANGUAGE)
def chat(
    model: ModelArgument = None,
    *,
    engine: EngineConfig,
    params: SamplingParams,
    language: Language,
    system: SystemOption = None,
    revision: RevisionOption = None,
    generation_config: GenerationConfigOption = "auto",
    adapter: AdapterOption = None,
) -> None:
    """Talk with a model in the terminal. /help lists what else can be typed.

    \b
    Examples:
      unisono chat Qwen/Qwen3-0.6B
      unisono chat Qwen/Qwen3-0.6B --system "Answer in one sentence." --temperature 0
    """
    from unisono.cli.answering import print_note, start_model
    from unisono.cli.conversation import Conversation, talk
    from unisono.cli.prompt_text import whole_text

    system = None if system is None else whole_text(system, "The system message")
    params = language.added_to(params)
    loaded = start_model(
        model, engine, revision=revision, generation_config=generation_config, adapter=adapter
    )
    typer.echo(f"{loaded.name}. /help for help, Ctrl-D to leave.", err=True)
    print_note(loaded)
    params = loaded.fill(params, SamplingDefaults(temperature=0.7, top_p=0.95))
    talk(Conversation(loaded, params, system=system))
