"""What the operator has, the tokenizer and the counts; and beside it all routes that write no reply.

The tokenizer's routes are as lm-evaluation-harness asks its remote tokenizer: GET /tokenizer_info, POST /tokenize with
`prompt` and `add_special_tokens`, POST /detokenize with `tokens`. Knows `chatfed.Chat`; knows no page.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from . import health, verdicts
from .bodies import given
from .fields import Flag, Given, Schema, Text, refuse, schema_of
from .keys import operator_only, refuse_visitor, role_of
from .limits import Limits
from .metrics import CONTENT_TYPE, Metrics
from .schemas import refusals, taking
from .working import in_reader

if TYPE_CHECKING:
    from chatfed import Chat

MOST_IDS = 1 << 20  # of one request to /detokenize
PROMPT, ADDED, SPECIAL = Text("prompt"), Flag("add_special_tokens"), Flag("parse_special")
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


def router(chat: Chat, reference: Chat | None, limits: Limits, metrics: Metrics, on_loopback: bool = True) -> APIRouter:
    """All routes of the API that write no reply.

    on_loopback: only this machine reaches the server, and no proxy stands before it; then /metrics needs no key there.
    """
    made = APIRouter()
    made.include_router(health.router())
    made.include_router(verdicts.router(chat, reference, limits))
    made.include_router(_tokenizer(chat, limits))

    @made.get("/metrics", tags=["operating"], responses=refusals())
    async def read_metrics(request: Request) -> Response:
        """What was counted, for Prometheus: the operator's, or this machine's."""
        if not (on_loopback and _is_local(request)):
            refuse_visitor(role_of(request), "The counts say how this server is used")
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    return made


def _tokenizer(chat: Chat, limits: Limits) -> APIRouter:
    made = APIRouter(tags=["operating"], dependencies=[Depends(operator_only)])

    @made.get("/tokenizer_info", responses=refusals())
    async def tokenizer_info() -> JSONResponse:
        """The markers and the chat template."""
        return JSONResponse(_info(chat))

    @made.post("/tokenize", **taking(_tokenize_schema()))
    async def tokenize(request: Request) -> JSONResponse:
        """The token ids of a text. Markers in it are read as markers, unless `parse_special` is false."""
        asked = await given(request)
        async with limits.place(request):
            return JSONResponse(await in_reader(lambda: _tokenized(chat, asked)))

    @made.post("/detokenize", **taking(_detokenize_schema()))
    async def detokenize(request: Request) -> JSONResponse:
        """The text of token ids, markers among it."""
        ids = _ids(chat, (await given(request)).get("tokens"))
        async with limits.place(request):
            return JSONResponse({"prompt": await in_reader(lambda: str(chat.tokenizer.decode(ids)))})

    return made


def _info(chat: Chat) -> dict[str, Any]:
    tokenizer = chat.tokenizer
    return {
        "tokenizer_class": type(tokenizer).__name__,
        "bos_token": tokenizer.bos_token,
        "eos_token": tokenizer.eos_token,
        "pad_token": tokenizer.pad_token,
        "unk_token": tokenizer.unk_token,
        "chat_template": tokenizer.chat_template,
        "vocab_size": len(tokenizer),
        "model_max_length": chat.context,
    }


def _tokenized(chat: Chat, asked: Given) -> dict[str, Any]:
    prompt = PROMPT.read(asked)
    if prompt is None:
        raise refuse("prompt", "prompt takes a text.", "missing")
    added = ADDED.read(asked)
    as_text = asked.get(SPECIAL.name) is not None and not SPECIAL.read(asked)
    # the backend keeps no state between calls, as the tokenizer around it does
    ids = chat.encode(prompt) if as_text else _backend(chat).encode(prompt, add_special_tokens=added).ids
    return {"tokens": [int(each) for each in ids], "count": len(ids), "max_model_len": chat.context}


def _backend(chat: Chat) -> Any:
    return chat.tokenizer.backend_tokenizer


def _ids(chat: Chat, tokens: Any) -> list[int]:
    """Token ids that the model knows. Raises ApiError."""
    size = len(chat.tokenizer)
    if not isinstance(tokens, list) or len(tokens) > MOST_IDS:
        raise refuse("tokens", f"tokens takes a list of up to {MOST_IDS:,} token ids.")
    if not all(type(each) is int and 0 <= each < size for each in tokens):
        raise refuse("tokens", f"tokens takes whole numbers from 0 to {size - 1:,}, the ids of this vocabulary.")
    return tokens


def _tokenize_schema() -> Schema:
    return schema_of([ADDED, SPECIAL], {"prompt": {"type": "string"}}, ["prompt"])


def _detokenize_schema() -> Schema:
    ids: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": MOST_IDS}
    return schema_of([], {"tokens": ids}, ["tokens"])


def _is_local(request: Request) -> bool:
    """Whether this machine asks, by its own name for itself and through nobody else.

    By another name it may be a page elsewhere that has pointed its name at this machine.
    """
    client = request.client.host if request.client else ""
    through = any(name in request.headers for name in FORWARDED)
    return not through and _is_loopback(client) and _is_loopback(request.url.hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
