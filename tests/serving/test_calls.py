"""What is read of a call to the page's functions: texts, numbers and messages, and nothing a visitor adds to them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from serving.calls import LONGEST_TEXT, MOST_BLOCKS, MOST_BYTES, MOST_MESSAGES, READERS, Asked, Calls, Refused
from tests.serving.page_server import said

MARKER = "only-a-marker"
CALLS = Calls(
    {
        0: Asked((READERS["Textbox"], READERS["Chatbot"]), event=False),
        3: Asked((READERS["Chatbot"],), event=True),
        4: Asked((READERS["Slider"], READERS["Number"]), event=False),
        5: Asked((READERS["Checkbox"],), event=False),
    }
)


def read(*data: Any, fn: Any = 0, **more: Any) -> dict[str, Any]:
    call = {"fn_index": fn, "trigger_id": 5, "session_hash": "abc123def45", "data": data, "event_data": None}
    session, body = CALLS.read(json.dumps(call | more).encode())
    assert session == "abc123def45"
    return dict(json.loads(body))


def refused(*data: Any, **more: Any) -> int:
    with pytest.raises(Refused) as caught:
        read(*data, **more)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    return caught.value.status


def test_a_conversation_comes_through_as_it_is() -> None:
    talk = [said("user", "my badge is lost"), said("assistant", "ask at the desk")]
    assert read("and", talk)["data"] == ["and", talk]
    assert read("", None)["data"] == ["", []]
    plain = [{"role": "user", "content": "a"}, {"role": "assistant", "content": {"type": "text", "text": "b"}}]
    assert read("", plain)["data"][1] == [said("user", "a"), said("assistant", "b")]


@pytest.mark.parametrize(
    "more",
    [
        {"metadata": {"title": MARKER}},
        {"options": [{"value": MARKER}]},
        {"name": MARKER},
        {"tool_calls": [{MARKER: 1}]},
    ],
)
def test_what_a_message_holds_beside_its_text_is_left_behind(more: dict[str, Any]) -> None:
    assert MARKER not in json.dumps(read("", [said("user", "hi") | more]))
    block = {"type": "text", "text": "hi"} | more
    assert MARKER not in json.dumps(read("", [{"role": "user", "content": [block]}]))


@pytest.mark.parametrize(
    "content",
    [
        {"path": MARKER, "meta": {"_type": "gradio.FileData"}},
        {"type": "file", "file": {"path": MARKER}},
        {"component": "html", "value": MARKER, "props": {}},
        {"type": "component", "text": MARKER},
        {"text": {"path": MARKER}},
        {"file": {"url": MARKER}, "alt_text": "a"},
        [[{"type": "text", "text": "a"}, {"type": "image", "text": MARKER}]],
        [["a"]], {"text": ["a"]}, {"text": {"text": "a"}},
        None, 5, True, {}, [None],
    ],
)  # fmt: skip
def test_a_content_that_is_no_text_is_refused(content: Any) -> None:
    assert refused("", [{"role": "user", "content": content}]) == 403
    assert refused("", [{"role": "user", "content": ["a", content]}]) == 403
    assert refused(content if content is not None else [], []) == 403


@pytest.mark.parametrize("role", ["system", "tool", "User", "", None, 1, ["user"], {"user": 1}])
def test_only_a_user_and_an_assistant_speak(role: Any) -> None:
    assert refused("", [{"role": role, "content": "hi"}]) == 403


@pytest.mark.parametrize("history", ["text", {"root": []}, 5, [5], ["hi"], [["user", "hi"]]])
def test_a_conversation_is_a_list_of_messages(history: Any) -> None:
    assert refused("", history) == 403


@pytest.mark.parametrize("fn", [1, 2, -1, 99, "0", None, 0.0, True, [0], {"a": 1}])
def test_only_functions_of_the_page_are_called(fn: Any) -> None:
    assert refused("", [], fn=fn) == 403


@pytest.mark.parametrize("data", [[], [""], ["", [], ""], {"0": ""}, "ab", None])
def test_a_function_gets_as_many_inputs_as_it_has(data: Any) -> None:
    assert refused(data=data) == 403


@pytest.mark.parametrize(
    "field", [{"trigger_id": "5"}, {"trigger_id": [1]}, {"session_hash": None}, {"session_hash": 5}]
)
def test_who_calls_is_named_plainly(field: dict[str, Any]) -> None:
    assert refused("", [], **field) == 403


def test_a_field_that_is_not_drawn_yet_holds_nothing() -> None:
    """A page that opens on another tab than the chat asks for suggestions before its message field is there."""
    assert read(None, None)["data"] == ["", []]
    never: tuple[Any, ...] = (5, True, [], {})
    for wrong in never:
        assert refused(wrong, []) == 403


def test_numbers_are_numbers() -> None:
    assert read(0.9, None, fn=4)["data"] == [0.9, None] and read(1, 5, fn=4)["data"] == [1, 5]
    never: tuple[Any, ...] = (None, "1", True, [1], {}, 10**30)
    for wrong in never:
        assert refused(wrong, None, fn=4) == 403
        if wrong is not None:
            assert refused(1, wrong, fn=4) == 403
    for literal in ("NaN", "Infinity", "-Infinity", "1e999"):
        body = f'{{"fn_index": 4, "trigger_id": 1, "session_hash": "abc123def45", "data": [{literal}, null]}}'
        with pytest.raises(Refused):
            CALLS.read(body.encode())


def test_a_tick_is_there_or_not() -> None:
    assert read(True, fn=5)["data"] == [True] and read(False, fn=5)["data"] == [False]
    never: tuple[Any, ...] = (None, 0, 1, "true", [], {})
    for wrong in never:
        assert refused(wrong, fn=5) == 403


def test_of_a_click_its_place_and_its_texts_are_read() -> None:
    clicked = {
        "index": 1,
        "value": [{"type": "text", "text": "new"}],
        "previous_value": "old",
        "_dispatch_value": MARKER,
    }
    assert read([], fn=3, event_data=clicked)["event_data"] == {"index": 1, "value": "new", "previous_value": "old"}
    example = {"index": [0, 2], "value": {"text": "my laptop"}, "selected": MARKER}
    assert read([], fn=3, event_data=example)["event_data"] == {
        "index": [0, 2],
        "value": "my laptop",
        "previous_value": "",
    }
    assert read("", [], event_data=clicked)["event_data"] is None  # it is told of no click
    never: tuple[Any, ...] = (
        None,
        [],
        "a",
        {"index": "1"},
        {"index": -1},
        {"index": []},
        {"index": 0, "value": {"path": MARKER}},
    )
    for wrong in never:
        assert refused([], fn=3, event_data=wrong) == 403


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 50_000, b'{"fn_index":' + b"1" * 5000 + b"}"]
)
def test_a_body_that_is_no_call_is_refused(body: bytes) -> None:
    with pytest.raises(Refused):
        CALLS.read(body)


def test_lengths_have_limits_with_a_sentence() -> None:
    assert read("", [said("user", "a")] * MOST_MESSAGES)["data"][1][-1] == said("user", "a")
    assert refused("", [said("user", "a")] * (MOST_MESSAGES + 1)) == 413
    assert refused("x" * (LONGEST_TEXT + 1), []) == 413
    assert refused("", [{"role": "user", "content": ["x" * LONGEST_TEXT, "x"]}]) == 413
    assert refused("", [said("user", "a" * 1000)] * (MOST_BYTES // 1000)) == 413


def test_what_is_nested_deep_is_refused_and_nothing_else_happens() -> None:
    for depth in (3, 300, 900):
        nested: Any = "a"
        for _ in range(depth):
            nested = [nested]
        assert refused("", [{"role": "user", "content": nested}]) == 403
        assert refused([], fn=3, event_data={"index": 0, "value": nested}) == 403
    assert refused("", [{"role": "user", "content": ["a"] * (MOST_BLOCKS + 1)}]) == 413


def test_half_a_character_is_mended() -> None:
    assert read("a\ud83d", [])["data"][0] == "a\ufffd" and read("a\U0001f600", [])["data"][0] == "a\U0001f600"


def test_an_input_that_nobody_thought_about_stops_the_start() -> None:
    import gradio as gr

    from serving.calls import calls_of

    with gr.Blocks() as page:
        gr.File().change(lambda file: None, gr.File(), None)
    with pytest.raises(TypeError, match=r"gr\.File"):
        calls_of(page)


def test_a_visitors_slider_stands_on_its_steps_and_the_operators_where_it_was_put() -> None:
    import gradio as gr

    from serving.calls import calls_of

    with gr.Blocks() as page:
        top_p, longest = gr.Slider(0.05, 1, 0.9, step=0.05), gr.Slider(1, 80, 80, step=1)
        top_p.change(lambda *given: None, [top_p, longest], None)
    call = {"fn_index": 0, "trigger_id": 1, "session_hash": "abc123def45", "data": [0.913, 7.4], "event_data": None}
    for exact, taken in ((False, [0.9, 7]), (True, [0.913, 7.4])):
        assert json.loads(calls_of(page, exact).read(json.dumps(call).encode())[1])["data"] == taken
