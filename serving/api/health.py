"""Whether the server answers: for what starts it again when it does not. Says nothing of the model or its callers."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse


def router() -> APIRouter:
    """GET /healthz, for anyone: the event loop runs, or there would be no answer."""
    made = APIRouter()

    @made.get("/healthz", tags=["operating"])
    async def healthz() -> JSONResponse:
        """Whether the server answers."""
        return JSONResponse({"status": "ok"})

    return made
