"""Texts that are too long whatever their tokens are, and the threads that make tokens."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from chatfed import Chat
from serving.api.errors import ApiError
from serving.api.lengths import check_texts, most_characters
from serving.api.working import READERS, in_reader, in_thread
from tests.serving.api.running import Running


def test_the_bound_on_characters_is_exact(wide_chat: Chat) -> None:
    most = most_characters(wide_chat)
    assert most is not None and most % wide_chat.context == 0
    longest = most // wide_chat.context
    for text in ("word " * 50, "my laptop will not start", "  \n\n   ", "né ☃ 🦊 你好", "a" * 300):
        assert len(text) <= len(text.encode()) <= longest * len(wide_chat.encode(text))
    check_texts(wide_chat, ["a" * (most - 1), "b", " " * most], "messages")
    with pytest.raises(ApiError) as error:
        check_texts(wide_chat, ["a" * most, "b"], "messages")
    assert error.value.reason == "context_length_exceeded" and error.value.param == "messages"


def test_a_text_that_is_far_too_long_is_refused_before_it_is_made_into_tokens(api_server: Running) -> None:
    for path, more in (("completions", {"prompt": ["a", "word " * 150_000]}),
                       ("chat/completions", {"messages": [{"role": "user", "content": "word " * 150_000}]}),
                       ("responses", {"input": "word " * 150_000})):  # fmt: skip
        status, error = api_server.refusal(f"/v1/{path}", {"model": "tiny"} | more, None)
        assert status == 400 and error["code"] == "context_length_exceeded" and "characters" in error["message"]
        assert error["param"] == {"prompt": "prompt[1]"}.get(next(iter(more)), next(iter(more)))


def test_tokens_are_made_while_every_other_thread_is_taken() -> None:
    async def job() -> None:
        free = threading.Event()
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        probe = asyncio.ensure_future(in_thread(lambda _: free.wait(20)))
        try:
            assert (await in_reader(lambda: threading.current_thread().name)).startswith("chatfed-read")
            assert not probe.done()
        finally:
            free.set()
            await probe

    asyncio.run(asyncio.wait_for(job(), 20))


def test_a_job_whose_client_leaves_while_it_waits_never_begins() -> None:
    async def job() -> None:
        free, begun = threading.Event(), list[int]()
        busy = [asyncio.ensure_future(in_reader(lambda: free.wait(20))) for _ in range(2)]
        waiting = asyncio.ensure_future(in_reader(lambda: begun.append(1)))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        free.set()
        await asyncio.gather(*busy)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not begun

    assert READERS._max_workers == 2
    asyncio.run(asyncio.wait_for(job(), 20))
