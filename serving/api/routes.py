"""The API as one application: every route, what stands before them, and what is said when something fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

import chatfed
from chatfed.types import ChatfedError

from . import chat_completions, completions, models, operator, responses
from .entrance import Entrance
from .errors import ApiError, log, response, told
from .metrics import Metrics, count_refusal
from .options import ApiOptions

if TYPE_CHECKING:
    from fastapi.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from chatfed import Chat

OPENAPI = "/v1/openapi.json"
NOT_SAID = {
    404: "There is no such route; docs/api-http.md lists them.",
    405: "This route takes another method; docs/api-http.md lists them.",
}


def api(chat: Chat, reference: Chat | None, options: ApiOptions) -> ASGIApp:
    """All routes with keys, limits and counts before them. Prepares what would take long later."""
    limits, metrics = options.limits, Metrics(options.limits)
    served = models.Models.of(options.name, chat, reference)
    routes = FastAPI(
        title="chatfed", version=chatfed.__version__, docs_url=None, redoc_url=None, openapi_url=OPENAPI
    )  # pages of docs would load scripts from elsewhere
    routes.include_router(models.router(served))
    routes.include_router(chat_completions.router(served, limits))
    routes.include_router(completions.router(served, limits))
    routes.include_router(responses.router(served, limits))
    routes.include_router(operator.router(chat, reference, limits, metrics, options.on_loopback))
    for kind, answer in ((ChatfedError, _refused), (HTTPException, _not_there), (Exception, _failed)):
        routes.add_exception_handler(kind, answer)
    entrance: ASGIApp = Entrance(_Contained(routes), options.keys, limits, metrics)
    if not options.origins:
        return entrance
    return CORSMiddleware(
        entrance,
        allow_origins=list(options.origins),
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=["retry-after"],
    )


class _Contained:
    """Keeps a failure of ours from the server's log, whose traceback would show its text. The answer was sent by then.

    What a person can mend goes on to the entrance.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except ChatfedError:
            raise
        except Exception as error:
            log(error)


async def _refused(request: Request, error: Any) -> Response:
    said = told(error)
    count_refusal(request, said)
    return response(said)


async def _not_there(request: Request, error: Any) -> Response:
    said = ApiError(error.status_code, NOT_SAID.get(error.status_code, str(error.detail)), reason="no_such_route")
    answer = response(said)
    answer.headers.update(error.headers or {})
    return answer


async def _failed(request: Request, error: Any) -> Response:
    return response(told(error))
