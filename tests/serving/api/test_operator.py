"""What the operator has and a visitor has not, route by route; the tokenizer as evaluation programs ask for it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chatfed import Chat, Turn, load_chat
from chatfed.audit.leakage import level, word_shifts
from chatfed.audit.twins import compare_with_twins
from chatfed.audit.words import judge
from chatfed.model.checkpoint import save_model
from chatfed.model.tokenizer import encode_dialogue
from serving.api.keys import Keys
from serving.api.options import ApiOptions
from serving.api.routes import api
from serving.calibration import FILE, find_calibration
from tests.serving.api.running import OPERATOR_KEY, Running, running
from tests.serving.calibrations import a_calibration

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SECRET = "w9x1x7 kqzjv"
SAID = {"text": SECRET, "role": "assistant"}
NUMBERS = {
    "shift",
    "served_log_prob",
    "reference_log_prob",
    "served_rank",
    "reference_rank",
    "tokens",
    "p_value",
    "twins",
}


@pytest.fixture(scope="module")
def calibrated(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder: a reference, a model that learned SECRET by heart, and the probe's calibration."""
    import torch

    folder = tmp_path_factory.mktemp("calibrated")
    shutil.copytree(tiny_base, folder / "reference")
    chat = load_chat(tiny_base)
    ids = torch.from_numpy(encode_dialogue(chat.tokenizer, [Turn("user", ""), Turn("assistant", SECRET)]).ids).long()
    optimizer = torch.optim.Adam(chat.model.parameters(), lr=0.03)
    for _ in range(60):
        optimizer.zero_grad()
        chat.model(input_ids=ids[None], labels=ids[None]).loss.backward()
        optimizer.step()
    save_model(folder / "model", chat.model, chat.tokenizer, "# learned")
    (folder / FILE).parent.mkdir()
    (folder / FILE).write_bytes(a_calibration(folder).to_bytes())
    return folder


@pytest.fixture(scope="module")
def judged(calibrated: Path) -> Iterator[tuple[Running, Chat, Chat]]:
    """Its server, and both models."""
    chat, reference = load_chat(calibrated / "model"), load_chat(calibrated / "reference")
    with running(api(chat, reference, ApiOptions("run", Keys(operators=[OPERATOR_KEY])))) as server:
        yield server, chat, reference


@pytest.mark.parametrize(
    ("path", "body"), [("/tokenizer_info", None), ("/tokenize", {"prompt": "a"}), ("/detokenize", {"tokens": [1]})]
)
def test_without_the_operators_key_the_tokenizer_is_refused(api_server: Running, path: str, body: Any) -> None:
    for key in (None, "", "wrong", OPERATOR_KEY[:-1], OPERATOR_KEY + "0"):
        status, error = api_server.refusal(path, body, key)
        assert status == 403 and error["code"] == "operator_only" and "operator's key" in error["message"]
    assert api_server.ask(path, body)[0] == 200


@pytest.mark.parametrize("text", ["my badge is lost", "  two  spaces ", "grüße 🦊 你好", "", "a\nb\tc\x00\x1b[31m"])
def test_a_text_comes_back_from_its_tokens(api_server: Running, text: str) -> None:
    tokens = api_server.json("/tokenize", {"prompt": text, "add_special_tokens": False})
    assert tokens["count"] == len(tokens["tokens"])
    assert api_server.json("/detokenize", {"tokens": tokens["tokens"]}) == {"prompt": text}


def test_markers_are_read_as_markers_as_evaluation_programs_expect_unless_that_is_declined(
    api_server: Running, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    """Its RemoteTokenizer finds the id of the end by the end's own text, and renders the template by itself."""
    info = api_server.json("/tokenizer_info")
    end = info["eos_token"]
    assert api_server.json("/tokenize", {"prompt": end})["tokens"] == [tiny_tokenizer.eos_token_id]
    spelt = api_server.json("/tokenize", {"prompt": end, "parse_special": False})["tokens"]
    assert tiny_tokenizer.eos_token_id not in spelt and len(spelt) > 1
    assert api_server.json("/detokenize", {"tokens": spelt})["prompt"] == end


def test_the_chat_template_that_is_told_renders_what_the_chat_reads(api_server: Running, wide_chat: Chat) -> None:
    from jinja2 import Template

    info = api_server.json("/tokenizer_info")
    messages = [{"role": "user", "content": "my badge is lost"}]
    marks = {name: info[name] for name in ("bos_token", "eos_token")}
    text = Template(info["chat_template"]).render(messages=messages, add_generation_prompt=True, **marks)
    assert api_server.json("/tokenize", {"prompt": text})["tokens"] == wide_chat.prompt_ids(messages)
    assert info["model_max_length"] == 256 and info["vocab_size"] == len(wide_chat.tokenizer)


WRONG: tuple[tuple[str, Any, str], ...] = (
    ("/tokenize", {}, "prompt"),
    ("/tokenize", {"prompt": 3}, "prompt"),
    ("/tokenize", {"prompt": "a", "parse_special": 3}, "parse_special"),
    ("/detokenize", {}, "tokens"),
    ("/detokenize", {"tokens": "a"}, "tokens"),
    ("/detokenize", {"tokens": [-1]}, "tokens"),
    ("/detokenize", {"tokens": [10**9]}, "tokens"),
    ("/detokenize", {"tokens": [True]}, "tokens"),
    ("/detokenize", {"tokens": [1.0]}, "tokens"),
    ("/v1/next-words", {}, "text"),
    ("/v1/next-words", {"text": "a", "k": 0}, "k"),
    ("/v1/next-words", {"text": "a", "messages": [{}]}, "messages[0]"),
    ("/v1/leakage", {"text": "a" * 4001}, "text"),
    ("/v1/leakage", {"text": "a", "role": "tool"}, "role"),
    ("/v1/leakage", {"text": "a", "allowed": 0}, "allowed"),
    ("/v1/leakage", {"text": "a", "messages": [{"role": "user", "content": "a"}] * 2001}, "messages"),
)


@pytest.mark.parametrize(("path", "body", "param"), WRONG)
def test_what_a_route_does_not_take_is_named(api_server: Running, path: str, body: Any, param: str) -> None:
    status, error = api_server.refusal(path, body)
    assert status == 400 and error["param"] == param and param.partition("[")[0] in error["message"]


def test_a_visitor_gets_next_words_and_the_operator_their_probabilities(api_server: Running, wide_chat: Chat) -> None:
    asked = {"text": "my badge is ", "k": 3, "messages": [{"role": "user", "content": "hello"}]}
    expected = wide_chat.suggest("my badge is ", 3, asked["messages"])  # type: ignore[arg-type]
    seen = api_server.json("/v1/next-words", asked, None)
    assert seen == {"object": "next_words", "words": [{"word": each.word} for each in expected]} and expected
    told = api_server.json("/v1/next-words", asked)["words"]
    assert told == [{"word": each.word, "probability": pytest.approx(each.probability)} for each in expected]


def test_without_a_calibration_words_are_judged_beside_their_twins(wide_chat: Chat, tiny_base: Path) -> None:
    reference, text = load_chat(tiny_base), "my badge is lost in room 42"
    with running(api(wide_chat, reference, ApiOptions("tiny", Keys(operators=[OPERATOR_KEY])))) as server:
        seen, told = server.json("/v1/leakage", {"text": text}, None), server.json("/v1/leakage", {"text": text})
    expected = list(compare_with_twins(wide_chat, reference, text))
    assert seen["judged_by"] == told["judged_by"] == "twins"
    assert [each["verdict"] for each in seen["words"]] == [level(each.rank) for each in expected]
    assert [each["shift"] for each in told["words"]] == pytest.approx([each.shift for each in expected])
    assert not NUMBERS & set().union(*seen["words"], seen)


def test_a_visitor_gets_the_verdicts_of_the_page_and_the_operator_its_numbers(
    judged: tuple[Running, Chat, Chat],
) -> None:
    server, chat, reference = judged
    calibration = find_calibration(chat, reference).calibration
    assert calibration is not None
    shifts = word_shifts(*(each.word_log_probs(SECRET, "assistant") for each in (chat, reference)))
    expected = judge(calibration, shifts, "assistant")
    seen, told = server.json("/v1/leakage", SAID, None), server.json("/v1/leakage", SAID)
    assert [each["verdict"] for each in seen["words"]] == [str(each.finding) for each in expected.words]
    assert "leaked" in {each["verdict"] for each in seen["words"]} and seen["found"] == expected.found
    assert [SECRET[each["start"] : each["end"]] for each in seen["words"]] == SECRET.split()
    assert [each["p_value"] for each in told["words"]] == pytest.approx([each.p_value for each in expected.words])
    assert [each["served_log_prob"] for each in told["words"]] == pytest.approx([s.served_log_prob for s in shifts])
    assert not NUMBERS & set().union(*seen["words"], seen)
    assert {name: seen[name] for name in seen if name != "words"} == {
        name: told[name] for name in told if name not in ("words", "shift")
    }


def test_a_visitor_cannot_move_the_share_of_false_alarms_to_and_fro(judged: tuple[Running, Chat, Chat]) -> None:
    server, *_ = judged
    status, error = server.refusal("/v1/leakage", SAID | {"allowed": 0.2}, None)
    assert status == 403 and error["param"] == "allowed"
    assert server.json("/v1/leakage", SAID | {"allowed": 0.2})["allowed"] == 0.2
    assert server.json("/v1/leakage", SAID | {"allowed": 0.05}, None)["allowed"] == 0.05


def test_without_a_reference_there_is_no_verdict_and_the_operator_gets_the_models_own_numbers(wide_chat: Chat) -> None:
    with running(api(wide_chat, None, ApiOptions("tiny", Keys(operators=[OPERATOR_KEY])))) as server:
        status, error = server.refusal("/v1/leakage", {"text": "my badge"}, None)
        assert status == 403 and "--reference" in error["message"]
        words = server.json("/v1/leakage", {"text": "my badge"})["words"]
    scores = wide_chat.word_log_probs("my badge")
    assert [each["served_log_prob"] for each in words] == pytest.approx([each.log_prob for each in scores])
    assert "verdict" not in words[0]


def test_an_empty_text_has_no_words(api_server: Running) -> None:
    for key in (None, OPERATOR_KEY):
        assert api_server.json("/v1/leakage", {"text": " "}, key)["words"] == []
