"""The files beside a model that its page hands out: the guarantee, and the audit that was compared with it.

Each is read once, when the page starts, and comes as an attachment: a page of the run's is never shown as one of ours.
Knows HTTP as ASGI gives it; knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .audit_beside import audit_of
from .run_folder import RunFolder, facts_folder

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

PLACE = "/published"
KINDS = {"json": "application/json", "html": "text/html; charset=utf-8", "sig": "text/plain; charset=utf-8"}


def downloads(run: RunFolder) -> dict[str, bytes]:
    """The files by name, of those that are of this model."""
    if run.privacy is None:
        return {}
    try:
        files = {"privacy.json": (facts_folder(run.model) / "privacy.json").read_bytes()}
    except OSError:  # gone since it was read; what is shown was of this model all the same
        return {}
    audit = audit_of(run)
    return files if audit is None or audit.fault else files | dict(audit.files)


class Downloads:
    """Answers GET and HEAD for each of `files` at /NAME, and 404 for all else."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        from starlette.responses import Response

        name = scope["path"].rpartition("/")[2]
        content = self.files.get(name)
        if content is None or scope["method"] not in ("GET", "HEAD"):
            await Response(status_code=404)(scope, receive, send)
            return
        headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
        answer = Response(content, media_type=KINDS[name.rpartition(".")[2]], headers=headers)
        await answer(scope, receive, send)
