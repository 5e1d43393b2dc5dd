"""What a route is described by in /openapi.json: a schema of its request, made from the fields that it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .fields import Field, Schema, schema_of

ERROR: Schema = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
            "required": ["message", "type", "param", "code"],
        }
    },
    "required": ["error"],
}
REFUSALS = {
    "400": "A field is wrong; `param` names it.",
    "401": "No key, or a wrong one.",
    "403": "The operator's alone.",
    "404": "No such model.",
    "408": "The request came too slowly.",
    "413": "The request is too large.",
    "415": "The request is not JSON by its header.",
    "429": "Too many at once; Retry-After says when to come again.",
}


def described(fields: Sequence[Field], own: Mapping[str, Schema], *required: str) -> dict[str, Any]:
    """Arguments of a route: its request's schema, and the refusals that it may answer with."""
    return taking(schema_of(fields, own, ("model", *required)))


def taking(schema: Schema) -> dict[str, Any]:
    """The same of a route that needs no model's name."""
    body = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {"openapi_extra": {"requestBody": body}, "responses": refusals()}


def refusals() -> dict[int | str, dict[str, Any]]:
    """What any route may answer with in place of what was asked."""
    answer = {"application/json": {"schema": ERROR}}
    return {int(status): {"description": said, "content": answer} for status, said in REFUSALS.items()}
