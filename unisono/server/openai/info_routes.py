"""The routes that do not generate: models, tokens, health, metrics, version, docs."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from unisono import __version__
from unisono.server.api_error import bad_request, not_supported
from unisono.server.docs_page import HEADERS, docs_page
from unisono.server.metrics import CONTENT_TYPE
from unisono.server.openai.known_fields import FEATURES
from unisono.server.openai.openapi import ERRORS, describe_body
from unisono.server.openai.request_schema import DetokenizeRequest, TokenizeRequest
from unisono.server.openai.response_schema import (
    Health,
    ModelCard,
    ModelList,
    ModelPermission,
    TokenIds,
    TokenizerInfo,
    TokenText,
    Version,
)
from unisono.server.service import Service

router = APIRouter()


@router.get("/health", responses={503: {"model": Health, "description": "Not ready."}})
async def health(request: Request) -> Health:
    """200 if requests are answered, 503 while the engine is restarted or the server shuts down."""
    service: Service = request.app.state.service
    status = "draining" if service.gate.draining else service.engine.state
    body = Health(status="ok" if status == "ready" else status)
    code = 200 if status == "ready" else 503
    return JSONResponse(body.model_dump(), status_code=code)  # type: ignore[return-value]


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Numbers for Prometheus."""
    service: Service = request.app.state.service
    return Response(service.metrics.render(), headers={"content-type": CONTENT_TYPE})


@router.get("/version", responses={401: ERRORS[401]})
async def version() -> Version:
    """The version of unisono."""
    return Version(version=__version__)


@router.get("/docs", response_class=HTMLResponse, responses={401: ERRORS[401]})
async def docs(request: Request) -> HTMLResponse:
    """A page for people about what the server takes."""
    return HTMLResponse(docs_page(request.app.openapi()), headers=HEADERS)


@router.get("/v1/models", responses={401: ERRORS[401]})
async def list_models(request: Request) -> ModelList:
    """The names that ``model`` may have."""
    service: Service = request.app.state.service
    return ModelList(data=[_card(service, name) for name in service.model_names])


@router.get("/v1/models/{name:path}", responses={401: ERRORS[401], 404: ERRORS[404]})
async def get_model(request: Request, name: str) -> ModelCard:
    """One of them."""
    service: Service = request.app.state.service
    service.check_model(name)
    return _card(service, name)


def _card(service: Service, name: str) -> ModelCard:
    created_s, root, parent = service.created_s, service.settings.model_root, None
    if service.adapter(name):
        adapter = service.engine.adapters[name]
        created_s, root, parent = adapter.created_s, name, service.settings.model_name
    return ModelCard(
        id=name,
        created=created_s,
        root=root or service.settings.model_name,
        parent=parent,
        permission=[ModelPermission(id=f"modelperm-{name}", created=created_s)],
        max_model_len=service.engine.facts.max_model_len,
        default_sampling_params=service.settings.sampling_defaults.said(),
    )


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
