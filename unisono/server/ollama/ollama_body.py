"""Bodies of Ollama's routes: fields that do something, fields without effect, fields refused.

Knows fields; ``chat_body.py`` makes chats of them.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from unisono.server.api_error import bad_request, not_supported
from unisono.server.openai.body_model import Body, WholeNumber

Json = dict[str, Any]
_REFUSED: dict[str, tuple[str, tuple[Any, ...], str]] = {
    "images": ("Images", ([],), ""),
    "template": ("A template of the client", ("",), ""),
    "context": ("A context of token ids", ([],), "Send the conversation to /api/chat."),
    "truncate": ("Cutting a long conversation", (False,), "Shorten it."),
    "shift": ("Shifting a full context", (False,), ""),
    "width": ("Making images", (0,), ""),
    "height": ("Making images", (0,), ""),
    "steps": ("Making images", (0,), ""),
}
"""Field -> its feature, the values that ask for nothing, what to do instead."""


class OllamaOptions(Body):
    """Options of sampling. Those of loading a model do nothing: here it is loaded."""

    place: ClassVar[str] = "options."
    without_effect: ClassVar[frozenset[str]] = frozenset(
        {
            *("num_ctx", "num_batch", "num_gpu", "main_gpu", "low_vram", "vocab_only", "use_mmap"),
            *("use_mlock", "num_thread", "numa", "f16_kv", "logits_all", "embedding_only"),
            *("draft_num_predict", "num_keep", "penalize_newline"),
        }
    )

    num_predict: Annotated[WholeNumber, Field(le=2**31)] | None = None
    temperature: Any = None
    top_k: Any = None
    top_p: Any = None
    min_p: Any = None
    seed: Any = None
    stop: Any = None
    repeat_penalty: Any = None
    presence_penalty: Any = None
    frequency_penalty: Any = None
    repeat_last_n: Any = None
    typical_p: Any = None
    tfs_z: Any = None
    mirostat: Any = None
    mirostat_tau: Any = None
    mirostat_eta: Any = None


class OllamaBody(Body):
    """Fields that chat and generate share; without ``stream`` an answer is streamed."""

    without_effect: ClassVar[frozenset[str]] = frozenset({"keep_alive", "_debug_render_only"})

    model: str | None = None
    stream: bool | None = None
    format: str | Json | None = None
    think: bool | str | None = None
    options: OllamaOptions | None = None
    logprobs: bool | None = None
    top_logprobs: Any = None
    keep_alive: Any = None
    truncate: Any = None
    shift: Any = None

    @property
    def streams(self) -> bool:
        return self.stream is not False

    @property
    def unloads(self) -> bool:
        """The body asks that the model be unloaded."""
        return self.keep_alive in (0, "0", "0s", "0m")


class OllamaChat(OllamaBody):
    """Body of ``POST /api/chat``."""

    messages: list[Json] | None = None
    tools: list[Json] | None = None


class OllamaGenerate(OllamaBody):
    """Body of ``POST /api/generate``."""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    raw: bool | None = None
    template: Any = None
    context: Any = None
    images: Any = None
    width: Any = None
    height: Any = None
    steps: Any = None


class OllamaShow(Body):
    """Body of ``POST /api/show``."""

    without_effect: ClassVar[frozenset[str]] = frozenset({"verbose"})

    model: str | None = None
    name: str | None = None
    """An old word for ``model``."""


def check_features(body: OllamaBody) -> None:
    """Raises:
    ApiError: a field asks for what this server does not do.
    """
    for name, (feature, idle, hint) in _REFUSED.items():
        value = getattr(body, name, None)
        if value is not None and value not in idle:
            raise not_supported(feature, name, hint)
    if isinstance(body.format, str) and body.format not in ("", "json"):
        raise bad_request('format: Input should be "json" or a JSON schema.', param="format")


def model_name(given: str | None) -> str | None:
    """The name without the tag that Ollama's clients add."""
    return given.removesuffix(":latest") if given else None
