"""The audit beside the guarantee, and what a visitor takes home: only what is of this model's weights and claim."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving.audit_beside import AuditBeside, audit_of, read_audit
from serving.downloads import PLACE, Downloads, downloads
from serving.guard import ROUTES, route_of
from serving.privacy_audit import FILES, audit_html, downloads_html
from serving.privacy_budget import budget_html, rounds_html
from serving.privacy_tab import privacy_html
from serving.run_folder import RunFolder, read_run_folder
from tests.serving.publishing.conftest import write_audit, write_claim, write_run

HOSTILE = "<script>alert('1')</script>"


@pytest.fixture
def run(tiny_base: Path, tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", tiny_base)


def test_an_audit_of_these_weights_stands_beside_the_proven_epsilon(run: Path) -> None:
    write_audit(run)
    told = read_run_folder(run)
    shown = audit_html(audit_of(told), told.privacy)
    assert "an ε of at most 7.51" in shown and ">0.43<" in shown and ">holds<" in shown
    assert "no ε covers them" in shown and "&lt;b&gt;no better" in shown and "Signed by the key" in shown


def changed_weights(run: Path) -> None:
    weights = run / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    write_claim(run)  # a right claim of the new weights: the audit is of the old ones


WRONG = {
    "other weights": (changed_weights, "was changed since|for other weights"),
    "another claim": (lambda run: write_claim(run, epsilon=1.0), "another privacy.json"),
    "a changed figure": (
        lambda run: (run / "audit.json").write_text((run / "audit.json").read_text().replace("0.4321", "0.0001")),
        "audit.json was changed",
    ),
    "a cut signature": (lambda run: (run / "audit.sig").write_text("x"), "no signature"),
    "no JSON": (lambda run: (run / "audit.json").write_text("{"), "not JSON"),
    "no object": (lambda run: (run / "audit.json").write_text("[1]"), "empty"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_audit_that_is_not_of_this_model_is_said_and_its_figures_are_not_shown(run: Path, wrong: str) -> None:
    write_audit(run)
    change, said = WRONG[wrong]
    change(run)
    told = read_run_folder(run)
    shown = audit_html(audit_of(told), told.privacy)
    assert "Not shown" in shown and re.search(said, shown) and "0.43" not in shown and "Guesses" not in shown
    assert set(downloads(told)) == {"privacy.json"}


def test_an_audit_beside_a_model_without_its_claim_is_not_shown(run: Path) -> None:
    write_audit(run)
    write_claim(run, model_sha256="0" * 64)
    told = read_run_folder(run)
    assert told.privacy is None and "Not shown" in audit_html(audit_of(told), told.privacy)
    assert downloads(told) == {} and downloads_html({}) == ""


def test_without_an_audit_the_tab_says_that_nobody_has_attacked(run: Path) -> None:
    assert audit_of(read_run_folder(run)) is None and "Nobody has attacked" in audit_html(None, {})


def test_an_audit_that_nobody_signed_is_shown_as_such(run: Path) -> None:
    write_audit(run)
    (run / "audit.sig").unlink()
    told = read_run_folder(run)
    assert "Nobody signed the audit" in audit_html(audit_of(told), told.privacy)


@pytest.mark.parametrize("place", ["title", "verdict", "sentence", "epsilon_lower_bound_distribution_free"])
@pytest.mark.parametrize("odd", [HOSTILE, [HOSTILE], {HOSTILE: 1}, None, float("nan"), 10**400], ids=repr)
def test_no_value_of_an_audit_becomes_markup(place: str, odd: Any) -> None:
    audit = AuditBeside({"parts": {"x": {"title": "t", place: odd}}, "not_protected": [odd]}, {}, "ab")
    assert "<script" not in audit_html(audit, {"epsilon": 1.0}) + audit_html(AuditBeside(fault=HOSTILE), None)
    assert "Not shown" not in audit_html(AuditBeside({"parts": odd}), None)


def test_the_tab_begins_with_one_sentence_that_says_no_letter_of_greek(run: Path) -> None:
    shown = privacy_html(read_run_folder(run))
    (sentence,) = re.findall(r'id="one-sentence"><strong>([^<]+)</strong>', shown)
    assert shown.index("one-sentence") < shown.index("<h2") and "99.95 % of cases; a coin in 50 %" in sentence
    assert "ε" not in sentence and "δ" not in sentence
    none: list[dict[str, Any]] = [{"noise": "none", "epsilon": None}, {"epsilon": 900.0, "delta": 1e-5}, {}]
    for claim in none:
        assert "one-sentence" not in privacy_html(RunFolder(Path("m"), None, claim, None, ()))


def test_the_table_shows_no_epsilon_smaller_than_it_is_and_folds_away_what_few_read() -> None:
    claim = {"epsilon": 7.4901, "delta": 1e-5, "per_round": [5.0001, 7.4901], "ring_step": 0.5, "repeats": {}}
    shown = privacy_html(RunFolder(Path("m"), None, claim, None, ()))
    table, _, folded = shown.partition("<details")
    assert "<td>7.50</td>" in table and "5.01, 7.50" in table and "Ring step" not in table
    assert "Ring step" in folded and "<td>none</td>" in folded and "<summary>All else" in folded


def test_budgets_say_what_may_be_spent_and_what_was() -> None:
    claim = {"epsilon": 7.5, "noise": "local", "budget_epsilon": 8.0, "epsilon_mean": 6.111, "clients": 30}
    more = {"clients_charged": 29, "participations_most": 3, "count": {"epsilon": 2.0}, "measuring": {"epsilon": 0.5}}
    shown = budget_html({**claim, **more})
    for figure in ("8.00", "7.50", "6.12", "2.00", "0.50", "29 of 30", "<dd>3<"):
        assert figure in shown, figure
    assert budget_html(None) == "" and budget_html({"epsilon": None}) == ""
    assert "<script" not in budget_html(dict.fromkeys((*claim, *more), HOSTILE) | {"epsilon": 1.0})


def test_a_published_folder_shows_its_rounds_without_a_line_of_metrics() -> None:
    claim = {"epsilon": 7.5, "per_round": [5.0, 6.5, 7.5, HOSTILE, None]}
    shown = rounds_html(RunFolder(Path("m"), None, claim, None, ()))
    assert "ε = 7.50 after round 3" in shown and shown.count("<th scope='row'>") == 3 and "<script" not in shown


def test_files_come_as_attachments_whole_and_nothing_else_comes(run: Path) -> None:
    write_audit(run)
    files = downloads(read_run_folder(run))
    assert set(files) == set(FILES) and json.loads(files["privacy.json"])["epsilon"] == 7.5001
    client = TestClient(Downloads(files))
    for name, content in files.items():
        reply = client.get(f"{PLACE}/{name}")
        assert reply.status_code == 200 and reply.content == content
        assert reply.headers["content-disposition"] == f'attachment; filename="{name}"'
    for name in ("recipe.toml", "../recipe.toml", "privacy.json/x", ""):
        assert client.get(f"{PLACE}/{name}").status_code == 404
    assert client.post(f"{PLACE}/privacy.json").status_code == 404


def test_the_guard_lets_these_four_files_through_and_no_other() -> None:
    for name in FILES:
        found = route_of("GET", f"{PLACE}/{name}")
        assert found is not None and found[0].kind == "file" and route_of("POST", f"{PLACE}/{name}") is None
    for path in ("/published/recipe.toml", "/published/", "/published/privacyxjson", "/published/audit.json/..", "/x"):
        assert route_of("GET", path) is None
    assert len(ROUTES) == 9


def test_an_audit_in_a_published_folder_is_read_there(run: Path, tmp_path: Path) -> None:
    write_audit(run)
    for name in FILES:
        (run / "model" / name).write_bytes((run / name).read_bytes())
    claim = json.loads((run / "privacy.json").read_text())
    found = read_audit(run / "model", claim)
    assert found is not None and not found.fault and read_run_folder(run / "model").privacy == claim
