"""Bodies of Ollama's routes that embed, and the body of OpenAI's that each is.

Knows fields; nothing of vectors.
"""

from __future__ import annotations

from typing import Any, ClassVar

from unisono.server.ollama.ollama_body import OllamaOptions, model_name
from unisono.server.openai.body_model import Body

Json = dict[str, Any]


class OllamaEmbed(Body):
    """Body of ``POST /api/embed``. Texts that are too long lose their ends, unless ``truncate`` is
    false. Values that a body of OpenAI's has too are checked there."""

    without_effect: ClassVar[frozenset[str]] = frozenset({"keep_alive"})

    model: str | None = None
    input: Any = None
    truncate: bool | None = None
    dimensions: Any = None
    options: OllamaOptions | None = None

    def as_openai(self) -> Json:
        cut = None if self.truncate is False else -1
        fields = {"input": self.input, "dimensions": self.dimensions, "truncate_prompt_tokens": cut}
        return {"model": model_name(self.model), **fields}


class OllamaEmbeddings(Body):
    """Body of ``POST /api/embeddings``."""

    without_effect: ClassVar[frozenset[str]] = frozenset({"keep_alive"})

    model: str | None = None
    prompt: str | None = None
    options: OllamaOptions | None = None

    def as_openai(self) -> Json:
        fields = {"input": self.prompt, "truncate_prompt_tokens": -1}
        return {"model": model_name(self.model), **fields}
