"""The web application: the page as gradio serves it, our guard around it, and what gradio is made to forget.

What we hold of gradio's inside is here and nowhere else: that it counts as launched, and where it keeps a session.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .guard import Guard, PublicAddress
from .run_folder import RunFolder
from .sessions import PATIENCE, Sessions

if TYPE_CHECKING:
    from fastapi import FastAPI

WAITING = 200  # calls in the queue, of all visitors


def make_application(
    run: RunFolder,
    tab: str = "chat",
    examples: Sequence[str] = (),
    only_loopback: bool = True,
    public: PublicAddress | None = None,
) -> FastAPI:
    """The page at /, guarded; visitors find it at `public` when a proxy stands before it. Loads the models."""
    import chatfed

    chat = chatfed.load_chat(run.model)
    chat.suggest("")  # the first suggestion prepares the spelling tables: not while somebody waits
    reference = chatfed.load_chat(run.reference) if run.reference is not None else None

    from .page import build_page

    return guarded(build_page(chat, reference, run, tab, examples), only_loopback, public=public)


def guarded(
    page: Any, only_loopback: bool = True, patience: float = PATIENCE, public: PublicAddress | None = None
) -> FastAPI:
    """A gr.Blocks as an application with our guard around everything."""
    from fastapi import FastAPI

    from .calls import calls_of

    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)  # its docs pages load scripts from elsewhere

    async def forget(session: str) -> bool:
        return await forget_session(page, session)

    sessions = Sessions(forget, patience)
    application.add_middleware(
        Guard, calls=calls_of(page), sessions=sessions, only_loopback=only_loopback, public=public
    )
    mount(application, page, public)
    return application


def mount(application: FastAPI, page: Any, public: PublicAddress | None = None) -> None:
    """Puts the page at /, and has it count as launched.

    gradio checks no file's path before a launch, and mounting is none.
    """
    import gradio as gr

    from .theme import CSS, HEAD, make_theme

    page.queue(max_size=WAITING, api_open=False)
    page.has_launched = True
    gr.mount_gradio_app(
        application,
        page,
        path="/",
        root_path=str(public) if public else None,
        theme=make_theme(),
        css=CSS,
        head=HEAD,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        show_error=False,
        max_file_size=1,  # byte: the page takes no files, and Guard refuses where gradio would
    )


async def forget_session(page: Any, session: str) -> bool:
    """Erases what gradio holds of a session, the texts of its conversation among it; False while a call still runs."""
    queue = page._queue
    running = [event for job in queue.active_jobs if job for event in job if event.session_hash == session]
    for event in running:
        event.alive = False  # or it would look for the list of its messages
    queue.pending_messages_per_session.pop(session, None)
    queue.pending_event_ids_session.pop(session, None)
    page.state_holder.session_data.pop(session, None)
    page.state_holder.time_last_used.pop(session, None)
    await queue.clean_events(session_hash=session)  # last: whoever comes while it waits begins anew
    return not running
