"""Checks of a request that the engine takes in, by the limits of model and engine. Pure."""

from __future__ import annotations

from unisono.core.errors import ContextLengthError, InvalidRequestError
from unisono.core.request import Request
from unisono.core.sampling import SamplingParams
from unisono.engine.stats import EngineInfo


def check_allowed(params: SamplingParams, eos_token_ids: frozenset[int]) -> None:
    """Raises InvalidRequestError: no token may come before ``min_tokens``."""
    allowed, stops = params.allowed_token_ids, eos_token_ids.union(params.stop_token_ids)
    if params.min_tokens and allowed and stops.issuperset(allowed):
        raise InvalidRequestError(
            "min_tokens forbids every token that allowed_token_ids allows.",
            param="allowed_token_ids",
        )


def check_pooling(request: Request, info: EngineInfo) -> None:
    """Raises InvalidRequestError: the model has nothing that gives what is asked for."""
    how = request.pooling
    if not info.has_head and (how is None or how.needs_logits):
        raise InvalidRequestError(
            "This model does not generate text.", hint="Ask it for embeddings or scores."
        )
    if how is None:
        return
    if request.params.max_tokens != 0:
        raise InvalidRequestError("Who pools gets no answer: max_tokens is 0.", param="max_tokens")
    if how.kind == "classes" and not info.num_classes:
        raise InvalidRequestError("This model has no head that classifies.")
    if not all(0 <= token_id < info.vocab_size for token_id in how.token_ids):
        raise InvalidRequestError("A token to be scored is out of vocabulary.")
    if (how.dimensions or 0) > info.hidden_size:
        raise InvalidRequestError(
            f"dimensions: this model's vectors have {info.hidden_size} numbers, not "
            f"{how.dimensions}.",
            param="dimensions",
        )


def max_tokens_of(request: Request, max_model_len: int) -> int:
    """Most tokens of the answer: those asked for, or as many as the context leaves room for.

    Raises:
        InvalidRequestError: an empty prompt, or a resumed answer that is complete.
        ContextLengthError: prompt and answer do not fit the context.
    """
    num_prompt, wanted = len(request.prompt_token_ids), request.params.max_tokens
    if num_prompt == 0:
        raise InvalidRequestError("The prompt is empty.", param="prompt")
    room = max_model_len - num_prompt
    if room < 0 or (room == 0 and wanted != 0):
        raise ContextLengthError(
            f"This model's maximum context length is {max_model_len} tokens, answer included; "
            f"the prompt is too long: it has {num_prompt}.",
            param="prompt",
            hint="Shorten the prompt, or raise --max-model-len if the model allows it.",
        )
    if wanted is not None and wanted > room:
        raise ContextLengthError(
            f"This model's maximum context length is {max_model_len} tokens; the prompt's "
            f"{num_prompt} and max_tokens={wanted} exceed it.",
            param="max_tokens",
            hint=f"Ask for at most {room} tokens, or leave max_tokens out.",
        )
    max_tokens = room if wanted is None else wanted
    if request.resumed_token_ids and len(request.resumed_token_ids) >= max_tokens:
        raise InvalidRequestError("The resumed answer is as long as max_tokens already.")
    return max_tokens
