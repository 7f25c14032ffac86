"""The routes between text and tokens, and those that say what the tokenizer is."""

from __future__ import annotations

from fastapi import APIRouter, Request

from unisono.server.api_error import bad_request, not_supported
from unisono.server.openai.known_fields import FEATURES
from unisono.server.openai.openapi import ERRORS, describe_body
from unisono.server.openai.request_schema import DetokenizeRequest, TokenizeRequest
from unisono.server.openai.response_schema import TokenIds, TokenizerInfo, TokenText
from unisono.server.service import Service

router = APIRouter()


@router.post("/tokenize", responses=ERRORS, openapi_extra=describe_body(TokenizeRequest))
async def tokenize(request: Request) -> TokenIds:
    """The token ids of a text, or of a conversation as the model will see it."""
    service: Service = request.app.state.service
    body = await service.read(request, TokenizeRequest)
    if (body.prompt is None) == (body.messages is None):
        raise bad_request("Send either prompt or messages.", param="prompt")
    if body.prompt is not None:
        special = body.add_special_tokens is not False
        ids = await service.encoder.text(body.prompt, add_special_tokens=special)
    else:
        if body.add_special_tokens:
            feature = FEATURES["add_special_tokens"]
            raise not_supported(feature.name, "add_special_tokens", feature.hint)
        ids = await service.encoder.chat(body)
    names = [service.tokenizer.token_text(i) for i in ids] if body.return_token_strs else None
    length = service.engine.facts.max_model_len
    return TokenIds(count=len(ids), max_model_len=length, tokens=ids, token_strs=names)


@router.post("/detokenize", responses=ERRORS, openapi_extra=describe_body(DetokenizeRequest))
async def detokenize(request: Request) -> TokenText:
    """The text of token ids."""
    service: Service = request.app.state.service
    body = await service.read(request, DetokenizeRequest)
    size = service.engine.facts.vocab_size
    if body.tokens and max(body.tokens) >= size:
        message = f"A token id is outside the vocabulary of {size}."
        raise bad_request(message, param="tokens")
    return TokenText(prompt=await service.encoder.decode(body.tokens))


@router.get("/tokenizer_info", responses={401: ERRORS[401]})
async def tokenizer_info(request: Request) -> TokenizerInfo:
    """The tokens and the template that a client needs who writes prompts on its own."""
    service: Service = request.app.state.service
    tokenizer, templates = service.tokenizer, service.tokenizer.chat_templates
    return TokenizerInfo(
        bos_token=tokenizer.bos_token,
        eos_token=tokenizer.eos_token,
        chat_template=templates.get("default") or next(iter(templates.values()), None),
        model_max_length=service.engine.facts.max_model_len,
    )
