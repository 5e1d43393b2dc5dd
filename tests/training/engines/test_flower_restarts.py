"""A coordinator that is begun again, and members that come and go, over Flower between processes on this machine."""

from __future__ import annotations

import signal

import pytest

from tests.training.engines.flower_line import Line, ended

pytestmark = [pytest.mark.flower, pytest.mark.slow]


def test_nodes_find_a_coordinator_again_that_was_restarted(own: Line) -> None:
    own.admit("a", "b")
    nodes = [own.node("a"), own.node("b")]
    own.await_online("a", "b")
    own.coordinator.end(signal.SIGKILL)
    for node in nodes:
        assert "has not answered since" in node.next()["said"]
    own.listen()
    own.admit("a", "b")
    own.await_online("a", "b", within=15)
    assert own.ask("a", "b")["right"] == {"a": True, "b": True}
    for node in nodes:
        assert "answers again" in node.next()["said"]
        assert node.lines.empty()


def test_who_is_at_work_while_its_coordinator_is_restarted_takes_the_next_message(own: Line) -> None:
    own.admit("a")
    own.node("a")
    own.await_online("a")
    assert own.ask("a", words="sleep 5 ", patience=1)["right"] == {}
    own.coordinator.end(signal.SIGKILL)
    own.listen()
    own.admit("a")
    own.await_online("a", within=30)
    assert own.ask("a")["right"] == {"a": True}


def test_who_is_taken_out_is_cut_off_and_told_and_who_is_added_or_has_a_new_key_is_in(own: Line) -> None:
    own.admit("a", "b")
    leaving, staying = own.node("a"), own.node("b")
    own.await_online("a", "b")
    rotated = own.points["a"]
    own.admit("b", "c")
    assert ended(leaving)[0] == "not_registered"
    own.node("c")
    own.await_online("b", "c")
    assert own.ask("a", "b", "c")["right"] == {"b": True, "c": True}

    (own.folder / "a.key").unlink()
    own.key("a")
    assert own.points["a"] != rotated
    own.admit("a", "b", "c")
    own.node("a")
    own.await_online("a", "b", "c")
    own.points["b"], own.points["a"] = own.points["a"], own.points["b"]  # a key that was taken out comes back too
    own.admit("c")
    own.admit("a", "b", "c")
    assert staying.process.poll() is None or ended(staying)[0] == "not_registered"
