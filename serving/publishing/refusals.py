"""What is raised where a run is not published."""

from __future__ import annotations

from chatfed.types import ChatfedError


class PublishError(ChatfedError):
    """A run cannot be published as it is asked for."""

    code = "cannot_publish"
    mend = "as the message says; nothing was written"
