"""/metrics: what is counted, who may see it, and that nobody's words, keys or addresses are in it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from chatfed import Chat
from serving.api.keys import Keys
from serving.api.limits import Allowed, Limits
from serving.api.options import ApiOptions
from serving.api.routes import api
from tests.serving.api.running import OPERATOR_KEY, Running, running

VISITOR_KEY = "visitor-key-of-the-tests-0123456789"
MARKER = "bergamot"
LABELS = ("route", "role", "status", "kind", "reason", "le")


@pytest.fixture(scope="module")
def server(wide_chat: Chat) -> Iterator[Running]:
    """A server of its own, whose counts begin at nothing."""
    options = ApiOptions("tiny", Keys([VISITOR_KEY], [OPERATOR_KEY]), Limits(Allowed(requests_a_minute=30)))
    with running(api(wide_chat, None, options)) as made:
        yield made


def counts(server: Running, key: str | None = OPERATOR_KEY) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels, in the order of LABELS."""
    status, _, text = server.ask("/metrics", key=key)
    assert status == 200, text
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {(each.name, *(each.labels[n] for n in LABELS if n in each.labels)): each.value for each in samples}


def test_requests_tokens_durations_and_refusals_are_counted(server: Running) -> None:
    before = counts(server)
    asked = {"model": "tiny", "messages": [{"role": "user", "content": MARKER}], "max_tokens": 5, "temperature": 0}
    usage = server.json("/v1/chat/completions", asked, VISITOR_KEY)["usage"]
    assert server.refusal("/v1/chat/completions", asked | {"logprobs": True}, VISITOR_KEY)[0] == 403
    assert server.refusal("/v1/chat/completions", asked, "no-key-of-this-server")[0] == 401
    assert server.ask(f"/v1/{MARKER}", asked, VISITOR_KEY)[0] == 404
    after = counts(server)
    new = {name: value - before.get(name, 0.0) for name, value in after.items()}
    route = "/v1/chat/completions"
    assert new["chatfed_requests_total", route, "visitor", "200"] == 1
    assert new["chatfed_requests_total", route, "visitor", "403"] == 1
    assert (
        new["chatfed_requests_total", "none", "", "401"] == new["chatfed_requests_total", "none", "visitor", "404"] == 1
    )
    assert new["chatfed_tokens_total", "prompt"] == usage["prompt_tokens"] > 0
    assert new["chatfed_tokens_total", "completion"] == usage["completion_tokens"] > 0
    assert new["chatfed_refusals_total", "operator_only"] == new["chatfed_refusals_total", "invalid_api_key"] == 1
    assert new["chatfed_request_seconds_count", route] == 2 and new["chatfed_request_seconds_sum", route] > 0
    assert (
        after["chatfed_places",] == Allowed().places and after["chatfed_places_held",] == after["chatfed_waiting",] == 0
    )


def test_nothing_that_was_sent_is_among_the_counts(server: Running) -> None:
    server.ask("/v1/models/" + MARKER, key=VISITOR_KEY)
    server.ask(f"/{MARKER}?{MARKER}", {"model": MARKER}, VISITOR_KEY, **{MARKER: MARKER})
    text = server.ask("/metrics")[2]
    for sent in (MARKER, VISITOR_KEY, OPERATOR_KEY, "127.0.0.1"):
        assert sent not in text
    labels = set(re.findall(r'(\w+)="', text))
    assert labels == set(LABELS)


def test_as_many_series_as_routes_however_many_paths_are_asked_for(server: Running) -> None:
    server.ask("/v1/0", key=VISITOR_KEY)
    series = len(counts(server))
    for number in range(5):
        server.ask(f"/v1/{number}", key=VISITOR_KEY)
        server.ask(f"/v1/models/{number}", key=VISITOR_KEY)
    assert len(counts(server)) <= series + 1 + 14  # of /v1/models/{name} its first, with its durations


def test_this_machine_and_the_operator_may_see_the_counts(server: Running) -> None:
    for key in (OPERATOR_KEY, None, VISITOR_KEY, "wrong"):
        assert server.ask("/metrics", key=key)[0] == 200


@pytest.mark.parametrize(
    "header", [{"host": "page.example"}, {"x_forwarded_for": "127.0.0.1"}, {"forwarded": "for=9.9.9.9"}]
)
def test_who_comes_by_another_name_or_through_a_proxy_is_not_this_machine(
    server: Running, header: dict[str, str]
) -> None:
    assert server.ask("/metrics", key=VISITOR_KEY, **header)[0] == 403
    assert server.ask("/metrics", **header)[0] == 200


def test_behind_a_proxy_or_off_loopback_the_counts_are_the_operators(wide_chat: Chat) -> None:
    with running(api(wide_chat, None, ApiOptions("tiny", Keys(None, [OPERATOR_KEY]), on_loopback=False))) as made:
        status, error = made.refusal("/metrics", key=None)
        assert status == 403 and error["code"] == "operator_only"
        assert made.ask("/metrics")[0] == 200


def test_health_is_said_to_anyone_and_says_nothing_else(server: Running) -> None:
    for key in (None, VISITOR_KEY, "wrong"):
        assert server.json("/healthz", key=key) == {"status": "ok"}


def test_health_and_counts_are_answered_however_often_they_are_asked_for_with_a_right_key(server: Running) -> None:
    assert {server.ask("/healthz", key=VISITOR_KEY)[0] for _ in range(40)} == {200}
