"""What the API says when it does not answer: OpenAI's error JSON, as a response and as an event of a stream.

No message of an error repeats what a client sent as text of a conversation. Knows no route and no model.
"""

from __future__ import annotations

import json
import logging
import math
from typing import TYPE_CHECKING, Any

from chatfed.types import ChatfedError

from ..failures import log_failure

if TYPE_CHECKING:
    from fastapi.responses import JSONResponse

_LOG = logging.getLogger("chatfed.api")
REQUEST, AUTHENTICATION, PERMISSION = "invalid_request_error", "authentication_error", "permission_error"
NOT_FOUND, RATE, SERVER = "not_found_error", "rate_limit_error", "server_error"
_OURS = {"model_busy": 429, "engine_stopped": 503}  # codes of the engine's that no other request would have mended
_TYPES = {401: AUTHENTICATION, 403: PERMISSION, 404: NOT_FOUND, 429: RATE}


class ApiError(ChatfedError):
    """A request to the HTTP API is not answered.

    status: of HTTP. kind: OpenAI's `type`, that of the status where none is given. reason: OpenAI's `code`, such as
    "context_length_exceeded". retry_after: seconds, for the header of a 429 or a 503.
    """

    code = "api_refused"
    mend = "send what the message says for `param`; docs/api-http.md lists what each route takes"

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        kind: str | None = None,
        reason: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, param=param)
        self.status = status
        self.kind = kind or _TYPES.get(status) or (SERVER if status >= 500 else REQUEST)
        self.reason = reason
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """The answer's JSON, as OpenAI's clients read it.

        >>> ApiError(404, "There is no model 'x'.", param="model", reason="model_not_found").body()["error"]["code"]
        'model_not_found'
        """
        return {"error": {"message": str(self), "type": self.kind, "param": self.param, "code": self.reason}}

    def headers(self) -> dict[str, str]:
        """Retry-After in whole seconds, 1 or more; and with a 401 what kind of key is wanted."""
        given: dict[str, str] = {}
        if self.retry_after is not None:
            given["retry-after"] = str(max(1, math.ceil(self.retry_after)))
        if self.status == 401:
            given["www-authenticate"] = "Bearer"
        return given


def response(error: ApiError) -> JSONResponse:
    """The error as an answer of its own."""
    from fastapi.responses import JSONResponse

    return JSONResponse(error.body(), status_code=error.status, headers=error.headers())


def event(error: ApiError) -> str:
    """The error as an event of a stream that has begun already, and so has its status."""
    return f"data: {json.dumps(error.body(), allow_nan=False)}\n\n"


def told(error: Exception) -> ApiError:
    """What a client is told of an error: its own words where a person can mend it, else nothing of the inside."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ChatfedError):
        status = _OURS.get(error.code, 400)
        wait = 2.0 if status in (429, 503) else None
        return ApiError(status, str(error), param=error.param, reason=error.code, retry_after=wait)
    return ApiError(500, "The server failed at this request, and nothing of it was kept: try again.", reason="internal")


def log(error: Exception) -> None:
    """Says where an error of ours happened and of which type it is, and no text of it: that may hold a prompt."""
    log_failure(_LOG, "A request failed", error)
