"""The role of a model: what it is for, and how its publisher says that this is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from unisono.core.errors import InvalidRequestError
from unisono.core.pooling import Pooling

Task = Literal["generate", "embed", "rerank"]
_DOES = {
    "generate": "generates text",
    "embed": "embeds texts",
    "rerank": "scores pairs of texts",
}
_ROUTES = {
    "generate": "Ask it for chats or completions; --task embed, or rerank, has it do that instead.",
    "embed": "Ask it for embeddings (unisono embed), or for scores and rerankings by likeness.",
    "rerank": "Ask it for scores and rerankings.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRole:
    """Args:
    pooling: how a text becomes a vector.
    prompts: texts that go before others, by name.
    default_prompt: name of the one that goes before a text where none is named.
    max_tokens: most tokens of a text; None leaves it to the model's positions.
    scored_token_ids: of a reranker, the tokens that say yes and no; None: by their usual names.
    has_classes: a reranker has a head of its own.
    is_logistic: of that head's number the sigmoid is the score.
    pair_form: how a query and a document become one text: ``qwen3`` is the prompt of
        Qwen3-Reranker, ``plain`` the tokenizer's own form for pairs.
    """

    task: Task = "generate"
    pooling: Pooling = field(default_factory=lambda: Pooling(normalize=True))
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    max_tokens: int | None = None
    scored_token_ids: tuple[int, int] | None = None
    has_classes: bool = False
    is_logistic: bool = True
    pair_form: Literal["qwen3", "plain"] = "qwen3"

    def check(self, *tasks: Task) -> None:
        """Raises InvalidRequestError: the model is for another task than any of these."""
        if self.task not in tasks:
            raise InvalidRequestError(
                f"This model {_DOES[self.task]}; it is not served for anything else.",
                hint=_ROUTES[self.task],
            )

    def prompt(self, name: str | None) -> str:
        """The text that goes before others; by default that of ``default_prompt``.

        Raises:
            InvalidRequestError: there is none of that name.
        """
        name = self.default_prompt if name is None else name
        if name is None:
            return ""
        if name not in self.prompts:
            known = ", ".join(map(repr, self.prompts)) or "none"
            raise InvalidRequestError(
                f"The model has no such prompt. It has {known}.", param="prompt_name"
            )
        return self.prompts[name]
