"""The page as gradio really serves it: what it gives away, keeps and spends.

Inputs are harmless: a file with a marker, a listener of our own that must hear nothing, long conversations.
"""

from __future__ import annotations

import json
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatfed.types import Turn
from serving.application import guarded, mount
from serving.messages import texts_of
from tests.serving.page_server import NOTHING, Parrot, Visitor, functions_of, hosted, said
from tests.serving.test_guard import run

MARKER = "only-a-marker-7319"
HOLD = "mark"  # what becomes of names in a message
STRIP = (20, "", HOLD)  # of suggestions, after draft and conversation
SETTINGS = (0, 0.9, 1, 20, "", "", HOLD)


@pytest.fixture(scope="module")
def chat() -> Parrot:
    return Parrot()


@pytest.fixture(scope="module")
def page(chat: Parrot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from serving.page import build_page

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        yield build_page(chat, None, NOTHING)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def port(page: Any) -> Iterator[int]:
    with hosted(guarded(page, patience=0.5)) as port:
        yield port


@pytest.fixture
def visitor(port: int) -> Visitor:
    made = Visitor(port)
    made.open()
    return made


def files_kept(page: Any) -> list[Path]:
    return [path for path in Path(page.GRADIO_CACHE).rglob("*") if path.is_file()]


def test_a_message_is_answered(visitor: Visitor, page: Any) -> None:
    functions = functions_of(page)
    assert visitor.call(functions["respond"], [said("user", "hello")], *SETTINGS)[0] == 200
    status, headers, stream = visitor.stream()
    assert status == 200 and "hi there" in stream and headers["x-accel-buffering"] == "no"


def test_a_page_that_nobody_uses_looks_for_calls_some_tens_of_times_a_second(
    port: int, page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that is slower looks less often: no time decides."""
    looks, length = [], type(page._queue).__len__

    def counted(queue: Any) -> int:
        looks.append(queue)
        return int(length(queue))

    monkeypatch.setattr(type(page._queue), "__len__", counted)
    time.sleep(1)
    assert 0 < looks.count(page._queue) < 150, len(looks)


def test_a_file_of_the_server_stays_there(visitor: Visitor, page: Any, tmp_path: Path) -> None:
    file = tmp_path / "note.txt"
    file.write_text(MARKER)
    named = {"path": str(file), "meta": {"_type": "gradio.FileData"}, "orig_name": "note.txt"}
    functions = functions_of(page)
    assert visitor.call(functions["take"], "hello", [said("user", "before")], HOLD)[0] == 200
    for content in (named, [named], [{"type": "file", "file": named}]):
        status, answer = visitor.call(functions["take"], "hello", [{"role": "user", "content": content}], HOLD)
        assert status == 403 and MARKER not in answer
    for path in (f"/gradio_api/file={file}", f"/gradio_api/file/{file}", f"/static/../{file}"):
        status, _, answer = visitor.ask("GET", path)
        assert status == 403 and MARKER not in answer
    assert not files_kept(page)


def test_gradios_own_check_is_in_force_behind_the_guard(page: Any, port: int, tmp_path: Path) -> None:
    """Without the guard: gradio itself must refuse a file that nobody gave it."""
    from gradio.context import LocalContext
    from gradio.exceptions import Error
    from gradio.processing_utils import async_move_files_to_cache

    file = tmp_path / "note.txt"
    file.write_text(MARKER)
    chatbot = next(block for block in page.blocks.values() if type(block).__name__ == "Chatbot")
    named = {"path": str(file), "meta": {"_type": "gradio.FileData"}}

    async def move() -> None:
        LocalContext.blocks.set(page)
        await async_move_files_to_cache(named, chatbot, check_in_upload_folder=True)

    with pytest.raises((Error, ValueError), match="not uploaded by a user"):
        run(move())
    assert not files_kept(page)


def test_no_address_of_another_is_fetched(visitor: Visitor, page: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/picture.png"
        named = {"path": address, "url": address, "meta": {"_type": "gradio.FileData"}}
        assert visitor.call(functions_of(page)["suggest"], "", [said("assistant", "hello")], *STRIP)[0] == 200
        for content in (named, [{"type": "file", "file": named}], [{"type": "text", "text": named}]):
            body = [{"role": "assistant", "content": content}]
            assert visitor.call(functions_of(page)["suggest"], "", body, *STRIP)[0] == 403
        for path in (f"/gradio_api/file={address}", f"/gradio_api/proxy={address}"):
            assert visitor.ask("GET", path)[0] == 403
        listener.settimeout(0.5)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_a_visitors_structures_do_not_come_back(visitor: Visitor, page: Any) -> None:
    more = {"metadata": {"title": MARKER, "log": MARKER}, "options": [{"value": MARKER}]}
    functions = functions_of(page)
    assert visitor.call(functions["take"], "hello", [said("user", "before", **more)], HOLD)[0] == 200
    *_, stream = visitor.stream()
    assert "before" in stream and MARKER not in stream
    assert texts_of([said("user", "before", **more)]) == [{"role": "user", "content": "before"}]


def test_what_was_said_is_gone_when_the_browser_is(visitor: Visitor, page: Any) -> None:
    visitor.call(functions_of(page)["respond"], [said("user", MARKER)], *SETTINGS)
    visitor.stream()
    visitor.session = "absent00001"  # and in one that never comes to hear the answer
    visitor.call(functions_of(page)["respond"], [said("user", MARKER)], *SETTINGS)
    deadline = time.monotonic() + 30
    while held(page) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not held(page) and not files_kept(page)


def held(page: Any) -> list[str]:
    """Sessions of which gradio still holds anything."""
    queue = page._queue
    return [*page.state_holder.session_data, *queue.pending_messages_per_session, *queue.pending_event_ids_session]


def test_another_visitor_gets_no_stream_and_no_answer(port: int, page: Any, visitor: Visitor) -> None:
    stranger = Visitor(port, visitor.session)
    stranger.open()
    assert visitor.call(functions_of(page)["respond"], [said("user", MARKER)], *SETTINGS)[0] == 200
    for intruder in (stranger, Visitor(port, visitor.session)):
        status, _, stream = intruder.stream()
        assert status == 403 and MARKER not in stream
        assert intruder.call(functions_of(page)["clear"])[0] == 403
    assert "hi there" in visitor.stream()[2]


def test_a_page_that_gradio_would_also_give_is_refused(visitor: Visitor) -> None:
    for path in ("/config", "/gradio_api/info", "/gradio_api/startup-events", "/monitoring", "/robots.txt"):
        assert visitor.ask("GET", path)[0] == 403
    for path in ("/gradio_api/upload", "/gradio_api/component_server", "/gradio_api/run/suggest", "/gradio_api/cancel"):
        assert visitor.ask("POST", path, {"data": []})[0] == 403
    assert visitor.ask("GET", "/assets/none-such.js")[0] in (403, 404)


def test_the_end_of_a_session_is_no_call(visitor: Visitor, page: Any) -> None:
    assert visitor.call(functions_of(page)["leave"])[0] == 403


def cost_of(visitor: Visitor, function: int, *data: Any) -> tuple[int, float]:
    """Status and additional peak MiB of one call and its answer, of this whole process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status, _ = visitor.call(function, *data)
    if status == 200:
        visitor.stream()
    return status, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024


def test_a_body_of_a_megabyte_is_refused_before_any_message_is_made_of_it(
    visitor: Visitor, page: Any, chat: Parrot, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, init, functions = [], Turn.__init__, functions_of(page)

    def counted(turn: Turn, *given: Any, **named: Any) -> None:
        made.append(1)
        init(turn, *given, **named)

    monkeypatch.setattr(Turn, "__init__", counted)
    assert cost_of(visitor, functions["suggest"], "", [said("user", "hello")], *STRIP)[0] == 200 and made
    made.clear()
    asked = len(chat.asked)
    for name in ("respond", "suggest"):
        one = [[said("user", "word " * 210_000)]]
        many = [[said("user", "my badge is lost and so on"), said("assistant", "ask at the desk")] * 4_000]
        for history in (one, many):
            arguments = (*history, *SETTINGS) if name == "respond" else ("", *history, *STRIP)
            status, megabytes = cost_of(visitor, functions[name], *arguments)
            assert status == 413 and megabytes < 50, megabytes
            assert not made and len(chat.asked) == asked


def test_the_longest_conversation_that_is_taken_is_cut_before_the_model_reads_it(
    visitor: Visitor, page: Any, chat: Parrot
) -> None:
    history = [said("user", "a word " * 40), said("assistant", "another " * 40)] * 200
    status, megabytes = cost_of(visitor, functions_of(page)["suggest"], "", history[:390], *STRIP)
    assert status == 200 and megabytes < 50, megabytes
    seen = chat.asked[-1]
    assert sum(len(turn.content) for turn in seen) <= 16 * chat.context and seen[-1].role == "assistant"


def test_a_refusal_is_a_sentence_the_page_can_show(visitor: Visitor, page: Any) -> None:
    status, answer = visitor.call(functions_of(page)["suggest"], "", [said("user", "a")] * 1000, *STRIP)
    assert status == 413 and "Start a new one" in json.loads(answer)["detail"]


def test_the_page_counts_as_launched() -> None:
    import gradio as gr
    from fastapi import FastAPI

    with gr.Blocks() as blocks:
        gr.Textbox()
    mount(FastAPI(), blocks)
    assert blocks.has_launched and blocks.run_history is False and blocks.max_file_size == 1


def test_gradio_answers_on_the_routes_that_were_looked_at() -> None:
    import gradio as gr
    from fastapi import FastAPI

    application = FastAPI()
    with gr.Blocks() as blocks:
        gr.Textbox()
    mount(application, blocks)
    found = set(routes_of(application.routes[-1].app.routes))  # type: ignore[attr-defined]
    new, gone = sorted(found - KNOWN), sorted(KNOWN - found)
    assert not new and not gone, (
        f"This gradio has other routes than 6.31: new {new}, gone {gone}. Read what they do, ask whether ROUTES in "
        "serving/guard.py still fits what the page needs, and then write them into KNOWN."
    )


def routes_of(routes: Any) -> Iterator[str]:
    """Every path that gradio answers, also those of the router that it includes."""
    for route in routes:
        if hasattr(route, "original_router"):
            yield from routes_of(route.original_router.routes)
        elif hasattr(route, "path"):
            yield route.path.rstrip("/") or "/"


KNOWN = set(
    """
    / /assets/{path:path} /config /favicon.ico /login /logout /manifest.json /monitoring /monitoring/summary
    /monitoring/{key} /openapi.json /pwa_icon /pwa_icon/{size} /robots.txt /static/{path:path} /svelte/{path:path}
    /theme.css /gradio_api/api/{api_name} /gradio_api/app_id /gradio_api/call/v2/{api_name}
    /gradio_api/call/v2/{api_name}/{event_id} /gradio_api/call/{api_name} /gradio_api/call/{api_name}/{event_id}
    /gradio_api/cancel /gradio_api/component_server
    /gradio_api/custom_component/{id}/{environment}/{type}/{file_name} /gradio_api/deep_link /gradio_api/dev/reload
    /gradio_api/file/{path:path} /gradio_api/file={path_or_url:path} /gradio_api/heartbeat/{session_hash}
    /gradio_api/info /gradio_api/login_check /gradio_api/openapi.json /gradio_api/process_recording
    /gradio_api/proxy={url_path:path} /gradio_api/queue/data /gradio_api/queue/join /gradio_api/queue/status
    /gradio_api/reset /gradio_api/run/{api_name} /gradio_api/runs /gradio_api/startup-events
    /gradio_api/stream/{event_id} /gradio_api/stream/{event_id}/close
    /gradio_api/stream/{session_hash}/{run}/{component_id}/playlist-file
    /gradio_api/stream/{session_hash}/{run}/{component_id}/playlist.m3u8
    /gradio_api/stream/{session_hash}/{run}/{component_id}/{segment_id}.{ext} /gradio_api/theme.css /gradio_api/token
    /gradio_api/undo-vibe-edit /gradio_api/upload /gradio_api/upload_progress /gradio_api/user /gradio_api/vibe-code
    /gradio_api/vibe-edit /gradio_api/vibe-starter-queries
    """.split()
)
