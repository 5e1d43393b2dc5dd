"""The web application: the page as gradio serves it, our guard around it, and what gradio is made to forget.

What we hold of gradio's inside is here and nowhere else: that it counts as launched, how often its queue
looks for calls, and where it keeps a session.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatfed.agreed_words import read_agreed

from .downloads import PLACE, Downloads, downloads
from .guard import Guard, PublicAddress
from .languages import ByLanguage
from .run_folder import RunFolder, facts_folder
from .sessions import PATIENCE, Sessions
from .straight import Straight
from .texts import FIRST

if TYPE_CHECKING:
    from fastapi import FastAPI

    from .api.options import ApiOptions

WAITING = 200  # calls in the queue, of all visitors
IDLE = 0.02  # seconds between two looks for a call; gradio's own 0.001 take some 8 % of a processor while nobody asks


def make_application(
    run: RunFolder,
    tab: str = "chat",
    examples: Sequence[str] = (),
    only_loopback: bool = True,
    public: PublicAddress | None = None,
    hosts: Sequence[str] = (),
    operator: bool = False,
    language: str | None = None,
    api: ApiOptions | None = None,
    log: Path | None = None,
    encrypted: str | None = None,
) -> FastAPI:
    """The page at /, guarded; visitors find it at `public` when a proxy stands before it. Loads the models.

    hosts: names besides loopback that requests may call this machine by. operator: whether whoever opens the page may
    see what is the operator's; the model without a guarantee only where no other machine reaches the page, too.
    language: what the page speaks; without it what the visitor's browser asks for. api: how programs are answered
    beside it; None: they are not. log: of the one person who opens the page; never where another machine reaches it.
    encrypted: HOST:PORT of a server of encrypted answers, of the same run.
    """
    import chatfed

    chat = chatfed.load_chat(run.model)
    if chat.offered is None:  # load_chat looks where it was sent, and that is the model's folder, in the run's
        chat.offered = read_agreed(facts_folder(run.model))
    chat.suggest("")  # the first suggestion prepares the spelling tables: not while somebody waits
    reference = chatfed.load_chat(run.reference) if run.reference is not None else None

    alone = only_loopback and public is None and not hosts
    bare = chatfed.load_chat(run.bare.model) if run.bare is not None and alone and operator else None

    own = log if alone else None

    from .encrypted_tab import Asking
    from .page import build_page
    from .texts import languages, read_texts

    asking = Asking.to(encrypted, run.model.parent) if encrypted else None
    pages = {
        each: build_page(chat, reference, run, tab, examples, operator, bare, read_texts(each), own, asking)
        for each in ([language] if language else languages())
    }
    files = downloads(run)
    application = guarded(pages, only_loopback, public=public, hosts=hosts, files=files, exact=operator)
    if api is not None:
        from .api.beside import Beside
        from .api.routes import api as answers

        programs = answers(chat, reference, api)
        application.add_middleware(
            Beside, api=programs, only_loopback=only_loopback, public=public, hosts=hosts, origins=api.origins
        )
    if alone:  # the outermost, so that the API stands behind it as well
        application.add_middleware(Straight, spoken=tuple(pages))
    return application


def guarded(
    page: Any | Mapping[str, Any],
    only_loopback: bool = True,
    patience: float = PATIENCE,
    public: PublicAddress | None = None,
    hosts: Sequence[str] = (),
    files: Mapping[str, bytes] | None = None,
    exact: bool = False,
) -> FastAPI:
    """A gr.Blocks as an application with our guard around everything; or several, by their languages.

    files: what is handed out beside the page, by name. exact: whether sliders take numbers between their steps.
    """
    from .calls import calls_of

    pages = dict(page) if isinstance(page, Mapping) else {FIRST: page}
    spoken = ByLanguage({each: mounted(blocks, each, public) for each, blocks in pages.items()})
    application = _bare(spoken.lifespan)

    async def forget(session: str) -> bool:
        return all([await forget_session(blocks, session) for blocks in pages.values()])

    sessions = Sessions(forget, patience)
    application.add_middleware(
        Guard,
        calls=calls_of(next(iter(pages.values())), exact),
        sessions=sessions,
        only_loopback=only_loopback,
        public=public,
        hosts=hosts,
        spoken=tuple(pages),
    )
    application.mount(PLACE, Downloads(files or {}))
    application.mount("/", spoken)
    return application


def _bare(lifespan: Any = None) -> FastAPI:
    """An application without the pages of its own that load scripts from elsewhere."""
    from fastapi import FastAPI

    return FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)


def mounted(page: Any, language: str, public: PublicAddress | None = None) -> FastAPI:
    """An application with the page at /."""
    application = _bare()
    mount(application, page, public, language)
    return application


def mount(application: FastAPI, page: Any, public: PublicAddress | None = None, language: str = FIRST) -> None:
    """Puts the page at /, and has it count as launched.

    gradio checks no file's path before a launch, and mounting is none.
    """
    import gradio as gr

    from .keeping import script
    from .texts import read_texts
    from .theme import CSS, HEAD, make_theme, named_parts

    page.queue(max_size=WAITING, api_open=False)
    page._queue.sleep_when_free = page._queue.progress_update_sleep_when_free = IDLE
    page.has_launched = True
    gr.mount_gradio_app(
        application,
        page,
        path="/",
        root_path=str(public) if public else None,
        theme=make_theme(),
        css=CSS,
        head=HEAD + named_parts(read_texts(language)) + script(),
        i18n=gr.I18n(**{language: read_texts(language).section("gradio")}),
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
