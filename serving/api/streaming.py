"""Server-sent events as OpenAI's clients read them. Knows how they are framed; knows no route.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from fastapi.responses import Response

from chatfed.types import ChatfedError

from .errors import event, log, told

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

DONE = "data: [DONE]\n\n"
Objects = AsyncGenerator[Mapping[str, Any], None]


class EventStream(Response):
    """An answer that is sent object by object, each as it comes. Its end closes what the objects come from.

    named: each event has its object's `type` for its name, and none says that it is over, as the Responses API has it.
    """

    media_type = "text/event-stream"

    def __init__(self, objects: Objects, named: bool = False) -> None:
        # a proxy passes pieces on as they come, and nobody keeps them
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._frames = _frames(objects, named)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._frames) as frames:
            async for frame in frames:
                await send({"type": "http.response.body", "body": frame.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _frames(objects: Objects, named: bool) -> AsyncGenerator[str, None]:
    try:
        async with aclosing(objects):
            async for each in objects:
                yield (f"event: {each['type']}\n" if named else "") + f"data: {_json(each)}\n\n"
    except Exception as error:  # the status was sent: what is left is to say it here
        if not isinstance(error, ChatfedError):
            log(error)
        yield event(told(error))
    if not named:
        yield DONE


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
