"""One reply at a time in a session: claims, stops and waiting."""

from __future__ import annotations

import threading

import pytest

from serving.generations import Generations


def test_one_reply_at_a_time_in_a_session() -> None:
    generations = Generations()
    with generations.running("a"), generations.running("b"):
        assert not generations.idle("a")
        with pytest.raises(RuntimeError), generations.running("a"):
            pass
    assert generations.idle("a") and generations.idle("b")


def test_a_claimed_session_is_busy_before_its_reply_begins() -> None:
    generations = Generations()
    assert generations.claim("a") and not generations.claim("a") and not generations.idle("a")
    generations.stop("a")
    with generations.running("a") as stop:
        assert stop.is_set(), "a reply that was stopped while it waited begins"
        generations.release("a")
        assert not generations.claim("a", patience=0), "a reply that is being written is no mere claim"
    assert generations.claim("a")
    generations.release("a")
    assert generations.idle("a")


def test_stop_reaches_only_its_own_session() -> None:
    generations = Generations()
    with generations.running("a") as first, generations.running("b") as second:
        generations.stop("a")
        assert first.is_set() and not second.is_set()
    generations.stop("a")


def test_a_stopped_reply_is_waited_for_and_a_running_one_is_not() -> None:
    generations = Generations()
    begun, done = threading.Event(), threading.Event()

    def hold() -> None:
        with generations.running("a"):
            begun.set()
            done.wait(5)

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait(5)
    assert not generations.idle("a", patience=60)
    generations.stop("a")
    assert not generations.idle("a", patience=0.05)
    threading.Timer(0.1, done.set).start()
    assert generations.idle("a", patience=60)
    thread.join()
