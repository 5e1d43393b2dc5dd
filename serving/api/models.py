"""Which models the API answers for, by their names, and who may ask for which: /v1/models."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request

from .errors import ApiError
from .keys import Role, refuse_visitor, role_of
from .lengths import most_characters
from .schemas import refusals

if TYPE_CHECKING:
    from chatfed import Chat

REFERENCE = "-reference"
_LISTED = "/v1/models"


@dataclass(frozen=True)
class ServedModel:
    """A model under the name that clients know it by."""

    name: str
    chat: Chat = field(repr=False)
    created: int  # seconds since 1970: when its folder was written
    operators: bool = False  # whether only the operator has it

    @cached_property
    def fingerprint(self) -> str:
        """The same as long as weights and versions are: with the same seed the same words, for `system_fingerprint`."""
        import torch

        import chatfed

        digest = hashlib.sha256(f"{chatfed.__version__} {torch.__version__} {torch.get_num_threads()}".encode())
        digest.update(self.chat.model.config.to_json_string().encode())
        for name, values in sorted(self.chat.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(values.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
        return f"fp_{digest.hexdigest()[:12]}"

    def to_json(self) -> dict[str, Any]:
        """As /v1/models lists it."""
        return {"id": self.name, "object": "model", "created": self.created, "owned_by": "chatfed"}


class Models:
    """All models of this server."""

    def __init__(self, served: Sequence[ServedModel]) -> None:
        self._served = {each.name: each for each in served}

    @classmethod
    def of(cls, name: str, chat: Chat, reference: Chat | None) -> Models:
        """The model by its run's name, and its reference, for the operator, by that and "-reference"."""
        served = [ServedModel(name, chat, _written(chat.path))]
        if reference is not None:
            served.append(ServedModel(name + REFERENCE, reference, _written(reference.path), operators=True))
        for each in served:
            _ = each.fingerprint, most_characters(each.chat)  # now, not while somebody waits
        return cls(served)

    def seen_by(self, role: Role) -> list[ServedModel]:
        """Those that a role may ask."""
        return [each for each in self._served.values() if role is Role.OPERATOR or not each.operators]

    def find(self, name: str, role: Role) -> ServedModel:
        """Raises ApiError: 404 for a name that is none, 403 for a visitor who asks for the operator's."""
        found = self._served.get(name)
        if found is None:
            here = ", ".join(each.name for each in self.seen_by(role))
            said = f"There is no such model here; there is {here}."
            raise ApiError(404, said, param="model", reason="model_not_found")
        if found.operators:
            refuse_visitor(role, "The reference model helps to find out what the other was trained on", "model")
        return found


def router(models: Models) -> APIRouter:
    """GET /v1/models, and one of them by its name."""
    routes = APIRouter()

    @routes.get(_LISTED, responses=refusals())
    async def listed(request: Request) -> dict[str, Any]:
        return {"object": "list", "data": [each.to_json() for each in models.seen_by(role_of(request))]}

    @routes.get(f"{_LISTED}/{{name:path}}", responses=refusals())
    async def one(name: str, request: Request) -> dict[str, Any]:
        asked = str(request.scope["path"]).removeprefix(f"{_LISTED}/")  # `name` lacks a line's end: a pattern's $
        return models.find(asked, role_of(request)).to_json()

    return routes


def _written(folder: Path | None) -> int:
    return int(folder.stat().st_mtime) if folder is not None and folder.exists() else 0
