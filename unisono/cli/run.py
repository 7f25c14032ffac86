"""``unisono run``: one prompt, one answer, on the screen while it is being written."""

from __future__ import annotations

from typing import Annotated

import typer

from unisono.cli.constraint_options import (
    LANGUAGE,
    Language,
    ToolChoiceOption,
    ToolsOption,
    read_tools,
)
from unisono.cli.option_groups import takes
from unisono.cli.options import (
    ENGINE,
    SAMPLING,
    AdapterOption,
    GenerationConfigOption,
    JsonOption,
    ModelArgument,
    RevisionOption,
    SystemOption,
)
from unisono.core.config import EngineConfig
from unisono.core.errors import ConfigError
from unisono.core.sampling import SamplingParams
from unisono.core.sampling_defaults import SamplingDefaults

EXAMPLE_MESSAGE = (
    "Dear customer, your account 6222-8043-1975 was charged 1,250.00 USD at a merchant in Oslo on"
    " 14 March. I did not make this payment. Please stop it and call me back today."
)


@takes(engine=ENGINE, params=SAMPLING, language=LANGUAGE)
def run(
    model: ModelArgument = None,
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPT",
            help="What to answer; - is standard input. What is piped in goes behind it. Without"
            " either, an example.",
        ),
    ] = None,
    *,
    engine: EngineConfig,
    params: SamplingParams,
    system: SystemOption = None,
    language: Language,
    tools: ToolsOption = None,
    tool_choice: ToolChoiceOption = "auto",
    raw: Annotated[
        bool, typer.Option("--raw", help="Continue the prompt as it stands: no chat template.")
    ] = False,
    revision: RevisionOption = None,
    generation_config: GenerationConfigOption = "auto",
    adapter: AdapterOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer one prompt. The answer goes to standard output, figures to standard error.

    \b
    Examples:
      unisono run
      unisono run "My broadband has been down since 9 May, order TK-20417."
      unisono run Qwen/Qwen3-0.6B "Why is the sky blue?" --max-tokens 200
      unisono run ./my-model "Once upon a time" --raw --temperature 0.8 --seed 7
      unisono run ./my-model "How many users came back?" --adapter ./sql-lora
      cat letter.txt | unisono run Qwen/Qwen3-0.6B "Summarise this:"
      cat letter.txt | unisono run Qwen/Qwen3-0.6B --json
      unisono run "It works, thanks!" --schema '{"enum": ["praise", "complaint"]}'
      unisono run "It works, thanks!" --choice praise --choice complaint
      unisono run Qwen/Qwen3-0.6B "Is it raining in Oslo?" --tools tools.json
    """
    from unisono.cli.answering import (
        PartPrinter,
        TimedAnswer,
        print_calls,
        print_json,
        print_note,
        print_statistics,
        show,
        start_model,
    )
    from unisono.cli.prompt_text import read_prompt, whole_text

    model, text = sort_words(model, prompt)
    if raw and system is not None:
        raise ConfigError(
            "--system needs the chat template that --raw switches off.",
            hint="Leave out one of the two.",
        )
    system = None if system is None else whole_text(system, "The system message")
    if raw and tools is not None:
        raise ConfigError(
            "--tools need the chat template that --raw switches off.",
            hint="Leave out one of the two.",
        )
    params, functions = language.added_to(params), read_tools(tools)
    given = read_prompt(text)
    text = EXAMPLE_MESSAGE if given is None else given
    loaded = start_model(
        model, engine, revision=revision, generation_config=generation_config, adapter=adapter
    )
    messages = [{"role": "system", "content": system}] if system is not None else []
    messages.append({"role": "user", "content": text})
    answer = TimedAnswer(loaded, loaded.fill(params, SamplingDefaults(temperature=0.0)))
    deltas = answer.to_prompt(text) if raw else answer.to_chat(messages, functions, tool_choice)
    printer = PartPrinter()
    for number, delta in enumerate(deltas):
        if given is None and number == 0:
            typer.echo(f"example message: {text}\n", err=as_json)
        if not as_json:
            printer.show(delta)
    printer.end_reasoning()
    if not as_json:
        print_calls(answer.whole.tool_calls)
    if as_json:
        print_json(answer)
        return
    show("\n")
    print_statistics(answer)
    print_note(loaded)


def sort_words(first: str | None, second: str | None) -> tuple[str | None, str | None]:
    """(model, prompt) from the words of the command line: a single word may be either."""
    from unisono.hub.resolving import looks_like_model

    if first is None or second is not None or looks_like_model(first):
        return first, second
    return None, first
