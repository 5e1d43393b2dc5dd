"""Messages between page and model: plain text there and back, next words, empty messages."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.conversation import add_word, label_of, percent
from serving.messages import from_page, last_of, to_page, turns_of


def test_turns_leave_out_empty_messages_and_join_blocks() -> None:
    history: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "text", "text": "my "}, {"type": "text", "text": "badge"}]},
        {"role": "assistant", "content": ""},
    ]
    assert [turn.content for turn in turns_of(history)] == ["my badge"]
    assert last_of(history, "assistant") == "" and last_of(history, "user") == "my badge"
    laptop = label_of("laptop", 0.3)
    assert add_word("my la", laptop) == add_word("my ", laptop) == "my laptop "
    assert add_word("", label_of("my", 0.001)) == "my "
    assert label_of("laptop", None) == "laptop" and add_word("my la", "laptop") == "my laptop "
    assert (percent(0.314), percent(0.001)) == ("31 %", "< 1 %")


PIECES = st.sampled_from(
    ["<", ">", "&", "&lt;", "&amp", "&#60;", "a", "/b", "!", "?", " ", "\n", "3", "copy", ";", '"']
)


@given(st.lists(PIECES, max_size=12).map("".join) | st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_a_message_comes_back_from_the_page_as_it_was_and_opens_no_tag(text: str) -> None:
    class Tags(HTMLParser):
        found = ""

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.found += tag

        def handle_endtag(self, tag: str) -> None:
            self.found += "other"

        handle_comment = handle_decl = handle_pi = handle_endtag  # type: ignore[assignment]  # all say what was opened

    reader = Tags(convert_charrefs=True)
    reader.feed(to_page(text) + " ")
    assert reader.found == ""
    assert from_page(to_page(text)) == text


@pytest.mark.parametrize("plain", ["a < b", "Q & A", "AT&T", "I <3 it"])
def test_ordinary_text_is_left_as_it_is(plain: str) -> None:
    assert to_page(plain) == plain
