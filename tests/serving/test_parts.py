"""Run folders, the privacy tab's words, sessions and the theme, without a browser."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.generations import Generations
from serving.privacy_tab import facts_html, plots_html, privacy_html
from serving.run_folder import RunFolder, RunFolderError, read_run_folder
from serving.theme import CSS, badge, format_small, header

GUARANTEE = {"epsilon": 7.5, "delta": 1e-05, "unit": "example", "noise": "local", "holds_against": "<everyone>"}


def run_with(privacy: dict | None, summary: dict | None = None, *metrics: dict) -> RunFolder:
    return RunFolder(Path("model"), None, privacy, summary, metrics)


def folder(tmp_path: Path, **files: str) -> Path:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    for name, text in files.items():
        (tmp_path / name.replace("_", ".")).write_text(text)
    return model


def test_a_run_folder_without_facts_is_no_claim(tmp_path: Path) -> None:
    run = read_run_folder(folder(tmp_path))
    assert (run.privacy, run.summary, run.metrics, run.reference) == (None, None, (), None)
    assert "No claim" in privacy_html(run)
    assert badge(run.privacy)[0] == "no privacy claim"


def test_a_runs_folder_does_for_its_model_and_its_reference(tmp_path: Path) -> None:
    model = folder(tmp_path, privacy_json=json.dumps(GUARANTEE))
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "config.json").write_text("{}")
    run = read_run_folder(tmp_path, tmp_path)
    assert (run.model, run.reference) == (model, tmp_path / "reference") and run.no_claim
    assert read_run_folder(model).model == model


def test_a_folder_that_holds_no_model_is_named_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"neither it nor model/ in it holds a config\.json; make one"):
        read_run_folder(tmp_path)
    with pytest.raises(RunFolderError, match=r"neither it nor reference/ in it .* leave --reference out"):
        read_run_folder(folder(tmp_path), tmp_path)


def test_the_reference_beside_the_model_is_found(tmp_path: Path) -> None:
    model = folder(tmp_path)
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / "config.json").write_text("{}")
    assert read_run_folder(model).reference == tmp_path / "reference"


def claimed(tmp_path: Path, digest: object) -> RunFolder:
    """Read back: a model of the weights b"ours" and a guarantee that names `digest`."""
    model = folder(tmp_path, privacy_json=json.dumps(GUARANTEE | ({} if digest is None else {"model_sha256": digest})))
    (model / "model.safetensors").write_bytes(b"ours")
    return read_run_folder(model)


def test_a_guarantee_that_names_the_served_weights_is_shown(tmp_path: Path) -> None:
    run = claimed(tmp_path, hashlib.sha256(b"ours").hexdigest())
    assert run.no_claim == "" and badge(run.privacy, run.no_claim)[0] == "ε = 7.50 per dialogue"
    assert "The guarantee" in privacy_html(run)


@pytest.mark.parametrize(
    ("digest", "why"),
    [
        (hashlib.sha256(b"theirs").hexdigest(), "privacy.json is of another model"),
        ("", "privacy.json is of another model"),
        (7, "privacy.json is of another model"),
        (None, "privacy.json does not say of which model it is"),
    ],
)
def test_a_guarantee_of_another_model_is_no_claim(tmp_path: Path, digest: object, why: str) -> None:
    run = claimed(tmp_path, digest)
    assert run.privacy is None and f"<h2>No claim: {why}</h2>" in privacy_html(run)
    shown = header(run.privacy, run.no_claim)
    assert "no privacy claim" in shown and f"No claim: {why}." in shown and "7.50" not in shown + privacy_html(run)


def test_the_figures_of_another_model_s_run_are_not_shown(tmp_path: Path) -> None:
    files = {"summary_json": '{"clients": 421}', "metrics_jsonl": '{"round": 1, "epsilon_max": 3.0}\n'}
    run = read_run_folder(folder(tmp_path, privacy_json=json.dumps(GUARANTEE | {"model_sha256": "ab"}), **files))
    assert (run.summary, run.metrics) == (None, ())
    assert "421" not in facts_html(run) and "its privacy.json is not of it" in facts_html(run)


def test_a_model_without_its_weights_file_takes_no_guarantee(tmp_path: Path) -> None:
    run = read_run_folder(folder(tmp_path, privacy_json=json.dumps(GUARANTEE | {"model_sha256": "ab"})))
    assert run.privacy is None and run.no_claim == "privacy.json is of another model"


def test_all_that_lies_beside_a_linked_model_is_taken_from_one_folder(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name / "reference").mkdir(parents=True)
        (tmp_path / name / "reference" / "config.json").write_text("{}")
    model = folder(tmp_path / "one", summary_json='{"rounds": 3}')
    (tmp_path / "other" / "model").symlink_to(model)
    run = read_run_folder(tmp_path / "other" / "model")
    assert run.summary == {"rounds": 3} and run.reference == tmp_path / "one" / "reference"


@pytest.mark.parametrize("text", ["{", "[1]", "nonsense", "[" * 100_000, '{"epsilon": ' + "9" * 5000 + "}"])
def test_an_unreadable_guarantee_is_an_error_and_never_no_claim(tmp_path: Path, text: str) -> None:
    with pytest.raises(RunFolderError, match=r"privacy\.json"):
        read_run_folder(folder(tmp_path, privacy_json=text))


def test_a_bad_line_of_metrics_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"metrics\.jsonl line 2"):
        read_run_folder(folder(tmp_path, metrics_jsonl='{"round": 1}\n{"rou\n'))


def test_the_guarantee_shows_every_field_escaped() -> None:
    privacy = GUARANTEE | {"assumptions": ["<i>one</i>"], "some_new_field": 3, "per_round": [1.0, 7.5]}
    shown = privacy_html(run_with(privacy))
    assert "7.50" in shown and "1e-5" in shown and "one dialogue" in shown and "Some new field" in shown
    assert "<i>one" not in shown and "&lt;everyone&gt;" in shown and "1, 7.5" in shown


HOSTILE = "<script>alert('1')</script>"
FIELDS = (
    "epsilon delta unit adjacency accountant sampling noise holds_against rounds assumptions excludes per_round "
    "clients_charged noise_multiplier model_sha256 some_new_field"
).split()
FIGURES = (
    "clients",
    "rounds",
    "parameters",
    "trainable_parameters",
    "before",
    "after",
    "reference",
    "seconds",
    "comparison",
)
WRAPS = [
    lambda x: x,
    lambda x: [x, 1.5],
    lambda x: {x: x},
    lambda x: {"perplexity": x, "top1": x, "evaluation": x, "bits_per_byte": x, "verdict": x, "over": x, "groups": x},
    lambda x: {"verdict": "learned", "over": x, "groups": 4, "top1": {"low": x, "high": x}, "bits_per_byte": x},
]


def everything(run: RunFolder) -> str:
    return privacy_html(run) + plots_html(run) + facts_html(run) + header(run.privacy, run.no_claim)


@pytest.mark.parametrize("wrap", WRAPS, ids=["text", "list", "object", "scores", "comparison"])
def test_no_value_of_any_file_becomes_markup(wrap) -> None:
    for field in FIELDS:
        shown = everything(run_with(GUARANTEE | {field: wrap(HOSTILE)}))
        assert "<script" not in shown, field
        assert "&lt;script&gt;" in shown or field in ("epsilon", "delta"), field
    assert "<script" not in everything(run_with(GUARANTEE | {HOSTILE: HOSTILE}))
    for figure in FIGURES:
        assert "<script" not in everything(run_with(GUARANTEE, {figure: wrap(HOSTILE)})), figure
    for column in ("round", "epsilon_max", "epsilon_mean"):
        row = {"round": 1, "epsilon_max": 1.0, "epsilon_mean": 0.5}
        assert "<script" not in everything(run_with(GUARANTEE, None, row, row | {column: wrap(HOSTILE)})), column
    assert "<script" not in everything(RunFolder(Path("model"), None, None, None, (), no_claim=HOSTILE))


@pytest.mark.parametrize(
    "odd", [float("inf"), -float("inf"), float("nan"), [1.0, [2]], 10**400, 1e308, True, None, {}, ""], ids=repr
)
def test_a_figure_that_is_no_number_stops_nothing(odd: object) -> None:
    for field in FIELDS:
        everything(run_with(GUARANTEE | {field: odd}))
        everything(run_with(GUARANTEE | {field: [odd, {"a": odd}]}))
    for figure in FIGURES:
        everything(run_with(GUARANTEE, {figure: odd}))
        scores = {"perplexity": odd, "top1": odd, "evaluation": odd, "bits_per_byte": odd}
        shown = everything(run_with(GUARANTEE, {"comparison": {"verdict": "learned", "top3": odd}, figure: scores}))
        assert "nan" not in shown and "inf " not in shown
    for column in ("round", "epsilon_max", "epsilon_mean"):
        row = {"round": 1, "epsilon_max": 1.0, "epsilon_mean": 0.5}
        assert "ε = 1.00 after round 2" in everything(run_with(GUARANTEE, None, row, row | {column: odd})), column


def test_a_negative_epsilon_is_no_claim() -> None:
    assert "No finite guarantee" in privacy_html(run_with(GUARANTEE | {"epsilon": -1000}))


@pytest.mark.parametrize(
    "privacy", [{"noise": "none", "epsilon": 3.0}, {"epsilon": None}, {"epsilon": float("inf"), "unit": "example"}]
)
def test_a_run_without_noise_claims_nothing(privacy: dict) -> None:
    assert "No finite guarantee" in privacy_html(run_with(privacy))
    assert badge(privacy)[0] == "no privacy claim"


def test_the_attackers_best_guess_is_that_of_the_trade_off_bound() -> None:
    shown = privacy_html(run_with({"epsilon": 1.0986122886681098, "delta": 0.0, "unit": "example"}))  # ln 3
    assert "75 %" in shown and "× 3.00" in shown


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"epsilon": 0.9}, "strong"),
        ({}, "moderate"),
        ({"epsilon": 14.4}, "weak"),
        ({"strength": "weak", "warnings": ["delta is not below 1 / (number of units), 1 / 50: so"]}, "weak"),
        ({"epsilon": 14.4, "strength": "strong"}, "weak"),  # a file's word is never taken for more than its numbers say
        ({"epsilon": 700.0}, "none"),
        ({"epsilon": 1e9, "strength": ["x"]}, "none"),
        ({"delta": 0.5}, "none"),
        ({"delta": None}, "none"),
    ],
)
def test_the_badge_and_the_tab_say_how_strong_the_guarantee_is(changes: dict[str, object], word: str) -> None:
    privacy = {**GUARANTEE, **changes}
    top, shown = header(privacy), privacy_html(run_with(privacy))
    calm = word in ("strong", "moderate")
    assert f'<span class="{"cf-badge" if calm else "cf-badge-none"}" id="strength-badge">{word} guarantee</span>' in top
    assert f'<span id="strength-value">{word}</span>' in shown and ("cf-warn" in shown) != calm
    assert "Ponomareva" in shown and "e+3" not in shown
    if word == "none":
        assert "The bound says nothing" in shown and "100 %" not in shown


def test_the_tab_says_what_holds_for_a_person_with_several_dialogues() -> None:
    rows = [
        {"who": "5 dialogues", "dialogues": 5, "epsilon": 18.2, "strength": "weak", "best_guess": "99.9999988 %"},
        {"who": "the most of any <b>client</b>", "dialogues": 212, "epsilon": None, "strength": "none"},
        "not a row",
    ]
    shown = privacy_html(run_with({**GUARANTEE, "person": rows, "person_note": "the counts are not covered"}))
    table = shown.partition('id="person"')[2].partition("</table>")[0]
    assert "ε = 18.20, weak; an even guess right in at most 99.9999988 % of cases" in table
    assert "212" in table and "no meaningful bound" in table and "&lt;b&gt;" in table and "not a row" not in table
    assert ">The counts are not covered.<" in shown
    for nothing in ({}, {"person": "x"}, {"person": []}):
        assert 'id="person"' not in privacy_html(run_with({**GUARANTEE, **nothing}))


def test_the_guarantee_in_words_is_a_factor_plus_delta() -> None:
    shown = privacy_html(run_with(GUARANTEE))
    assert "changes at most by the factor e<sup>ε</sup> = 1,808, plus δ = 1e-5" in shown and "except" not in shown


def test_a_guarantee_for_clients_is_not_for_whether_one_took_part() -> None:
    client = {**GUARANTEE, "unit": "client", "noise": "distributed"}
    shown = privacy_html(run_with(client))
    assert "any one client took part with its dialogues or with its noise alone" in shown and "ε per client" in shown
    assert "dialogue was" not in shown and badge(client)[0] == "ε = 7.50 per client"
    assert "any one dialogue was in a client's training data" in privacy_html(run_with(GUARANTEE))


def test_facts_show_before_after_and_reference() -> None:
    scores = {"bits_per_byte": 2.4567, "perplexity": 61.23, "top1": 0.382, "top3": 0.56}
    run = {"before": scores, "after": scores, "reference": None, "clients": 400}
    shown = facts_html(run_with(None, run))
    assert shown.count("<tbody>") == 1 and shown.count("61.2") == 2 and "38.2 %" in shown and "400" in shown
    assert shown.count("<td class='n'>2.457") == 2
    worse = {"verdict": "worse", "over": "clients", "groups": 30, "top1": {"low": -0.02, "high": -0.01}}
    assert "made the model WORSE" in facts_html(run_with(None, {**run, "comparison": worse}))
    assert "without noise" not in shown


def test_the_badge_says_its_unit() -> None:
    assert badge(GUARANTEE)[0] == "ε = 7.50 per dialogue"
    assert "δ = 1e-5" in header(GUARANTEE)
    assert format_small(1e-05) == "1e-5"


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


def test_the_style_sheet_names_no_other_host() -> None:
    assert not re.search(r"https?:|@import|url\(", CSS)


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_every_word_colour_is_readable(dark: bool) -> None:
    prefix = r"\.dark " if dark else r"(?<!dark )"
    found = dict(re.findall(prefix + r"\.(cf-[pm]\d) \{ background: (#[0-9a-f]{6})", CSS))
    assert set(found) == {"cf-p4", "cf-p3", "cf-p0", "cf-m1", "cf-m3"}
    for name, background in found.items():
        text = "#ffffff" if name == "cf-p4" else "#f1f5f9" if dark else "#0f172a"
        assert contrast(text, background) >= 4.5, (name, background)


def test_turns_leave_out_empty_messages_and_join_blocks() -> None:
    from serving.conversation import add_word, label_of, percent
    from serving.messages import last_of, turns_of

    history = [
        {"role": "user", "content": [{"type": "text", "text": "my "}, {"type": "text", "text": "badge"}]},
        {"role": "assistant", "content": ""},
    ]
    assert [turn.content for turn in turns_of(history)] == ["my badge"]
    assert last_of(history, "assistant") == "" and last_of(history, "user") == "my badge"
    laptop = label_of("laptop", 0.3)
    assert add_word("my la", laptop) == add_word("my ", laptop) == "my laptop "
    assert add_word("", label_of("my", 0.001)) == "my "
    assert (percent(0.314), percent(0.001)) == ("31 %", "< 1 %")


PIECES = st.sampled_from(
    ["<", ">", "&", "&lt;", "&amp", "&#60;", "a", "/b", "!", "?", " ", "\n", "3", "copy", ";", '"']
)


@given(st.lists(PIECES, max_size=12).map("".join) | st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_a_message_comes_back_from_the_page_as_it_was_and_opens_no_tag(text: str) -> None:
    from serving.messages import from_page, to_page

    class Tags(HTMLParser):
        found = ""

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.found += tag

        handle_endtag = handle_comment = handle_decl = handle_pi = lambda self, tag: setattr(self, "found", "other")

    reader = Tags(convert_charrefs=True)
    reader.feed(to_page(text) + " ")
    assert reader.found == ""
    assert from_page(to_page(text)) == text


@pytest.mark.parametrize("plain", ["a < b", "Q & A", "AT&T", "I <3 it"])
def test_ordinary_text_is_left_as_it_is(plain: str) -> None:
    from serving.messages import to_page

    assert to_page(plain) == plain
