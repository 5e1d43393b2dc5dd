"""`chatfed audit` on a tiny run: what runs, is kept, is written and signed, and what its exit code says."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from chatfed.audit.annex import unmapped
from chatfed.audit.leakage import AuditError
from chatfed.audit.part import Part, Table, Verdict
from chatfed.types import IntVector
from tests.training.processes import PLAIN, ROOT, here, one_line, settings
from training.audit import WHICH
from training.audits import parts, retraced, signing
from training.audits.audited import Audited, Say
from training.parties.identity import new_key, read_key, roster_line
from training.plan import upload

FILES = ("audit.json", "audit.html", "audit.sig")
HELD = Part(
    "conformance", "Does it?", Verdict.HOLDS, "It does.", {"killed": 3}, [Table("T", ["a"], [["b"]])], ["<svg/>"]
)
OPEN = Part("updates", "Updates", Verdict.OPEN, "It reads.", {}, not_protected=["a raw update"], notes=["how"])
FAULT = Part("server", "Server", Verdict.FAULT, "It reads words.", {})
UNSURE = Part("membership", "Who?", Verdict.UNJUDGED, "Too few controls.", {})


@pytest.fixture(scope="module")
def trained(tiny_data: Path, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny private run of eight clients."""
    out = tmp_path_factory.mktemp("audit") / "out"
    given = settings(
        privacy__unit="client", privacy__noise="distributed", privacy__target_epsilon=3.0, local__batch=2,
        secagg__threshold=0.75, runtime__workers=1, runtime__evaluation_dialogues=5, model__context=64,
    )  # fmt: skip
    done = here(
        *("--data", tiny_data / "private.jsonl", "--validation", tiny_data / "held_out.jsonl", "--base", tiny_base),
        *("--recipe", PLAIN, "--rounds", "1", "--cohort", "8", "--out", out, *given),
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def made_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Makes an audit of these parts; an error in the place of a part is raised by it. Gives the names of those run."""

    def make(*given: Part | BaseException, quick: Sequence[str] = ()) -> list[str]:
        ran: list[str] = []

        def kind(at: int, each: Part | BaseException) -> parts.Kind:
            name = each.name if isinstance(each, Part) else f"part_{at}"

            def attack(run: Audited, say: Say) -> Part:
                ran.append(name)
                say("half of it")
                if isinstance(each, Part):
                    return each
                raise each

            return parts.Kind(name, name.title(), f"tries {name}", lambda: attack, quick=name in quick)

        monkeypatch.setattr(parts, "KINDS", tuple(kind(at, each) for at, each in enumerate(given)))
        return ran

    return make


def audit(run: Path, *options: object) -> subprocess.CompletedProcess[str]:
    return here(run, *options, command="audit")


def verify(run: Path, *options: object) -> subprocess.CompletedProcess[str]:
    return here("verify", run, *options, command="audit")


def results(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "audit.json").read_text())
    return found


Made = Callable[..., list[str]]


# What is written


def test_an_audit_writes_its_results_its_page_and_a_signature_that_verifies(run: Path, made_of: Made) -> None:
    made_of(HELD, OPEN)
    done = audit(run)
    assert done.returncode == 0, done.stderr
    held = results(run)
    assert held["verdict"] == "open" and held["parts"]["conformance"]["killed"] == 3
    assert held["claim"] == json.loads((run / "privacy.json").read_text())
    assert held["weights_sha256"] == hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest()
    assert held["not_protected"][0] == "a raw update" and held["not_protected"][1] == held["claim"]["excludes"][0]
    assert held["size"]["private_tokens"] > held["size"]["private_dialogues"] > 0
    assert "conformance: holds. It does." in done.stdout and "1 succeeded where nothing is claimed" in done.stdout
    assert "It reads." in (run / "audit.html").read_text()
    assert list(unmapped(held)) == [], "each key of audit.json has its place in the annex"
    assert {"claim.epsilon", "parts.conformance", "size"} <= {place for row in held["annex"] for place in row["places"]}
    checked = verify(run)
    assert checked.returncode == 0 and len(checked.stdout.splitlines()) == 6
    assert all(line.startswith("OK  ") for line in checked.stdout.splitlines())


def test_of_a_run_without_noise_nothing_is_said_to_be_protected(run: Path, made_of: Made) -> None:
    made_of(OPEN)
    claim = json.loads((run / "privacy.json").read_text())
    (run / "privacy.json").write_text(json.dumps({**claim, "epsilon": None, "delta": None}))
    assert audit(run).returncode == 0
    assert results(run)["not_protected"] == ["everything: no noise was added, and nothing is claimed"]
    assert "Nothing: no noise was added" in (run / "audit.html").read_text()


# What the exit code says


@pytest.mark.parametrize(
    ("given", "code", "verdict"),
    [
        ([HELD], 0, "holds"),
        ([HELD, OPEN, UNSURE], 0, "open"),
        ([HELD, FAULT], 1, "fault"),
        ([UNSURE], 1, "cannot judge"),
        ([HELD, AuditError("there are no facts: audit another run.")], 1, "cannot judge"),
        ([FAULT, AuditError("there are no facts: audit another run.")], 1, "fault"),
        ([], 1, "cannot judge"),
    ],
    ids=["holds", "open", "fault", "unsure", "stopped", "fault and stopped", "nothing"],
)
def test_the_exit_code_is_0_only_where_a_part_judged_and_none_found_a_fault_or_stopped(
    run: Path, made_of: Made, given: list[Any], code: int, verdict: str
) -> None:
    made_of(*given)
    assert audit(run).returncode == code
    assert results(run)["verdict"] == verdict


def test_a_part_that_stops_says_why_and_the_others_run(run: Path, made_of: Made) -> None:
    ran = made_of(AuditError("there are no facts: audit another run."), HELD)
    done = audit(run)
    assert ran == ["part_0", "conformance"] and "Traceback" not in done.stderr
    stopped = results(run)["parts"]["part_0"]
    assert stopped["stopped"] and stopped["error"] == "bad_audit" and "there are no facts" in stopped["sentence"]
    assert "there are no facts" in (run / "audit.html").read_text()
    audit(run)
    assert ran == ["part_0", "conformance", "part_0"], "what stopped is tried again, what finished is not"


def test_a_figure_that_is_no_number_stops_its_part_and_is_not_written(run: Path, made_of: Made) -> None:
    made_of(replace(HELD, figures={"auc": float("nan")}), OPEN)
    assert audit(run).returncode == 1
    assert "figures.auc is not finite" in results(run)["parts"]["conformance"]["sentence"]


@pytest.mark.parametrize(
    ("options", "parts_of_it"),
    [
        (["--parts", "conformanse"], ["conformanse", "did you mean conformance?"]),
        (["--key", "no-such.key"], ["no-such.key", "chatfed identity new"]),
    ],
)
def test_what_is_given_wrong_is_said_before_any_part_runs(
    run: Path, made_of: Made, options: list[str], parts_of_it: list[str]
) -> None:
    ran = made_of(HELD)
    one_line(audit(run, *options), *parts_of_it, code=2)
    assert ran == [] and not any((run / name).exists() for name in FILES)


def test_a_folder_that_holds_no_finished_run_is_named(run: Path, tmp_path: Path) -> None:
    one_line(audit(tmp_path / "nothing"), "nothing", code=2)
    assert not list(tmp_path.glob(".nothing*"))
    (run / "privacy.json").unlink()
    one_line(audit(run), "no finished run", "chatfed resume", code=2)
    one_line(verify(run), "audit.sig", "chatfed audit", code=2)


# Which parts run


def test_parts_that_were_not_asked_for_are_named_with_the_reason(run: Path, made_of: Made) -> None:
    ran = made_of(HELD, OPEN, replace(HELD, name="canaries"), quick=["conformance"])
    audit(run, "--quick")
    assert ran == ["conformance"]
    assert results(run)["not_run"] == {
        "updates": "it takes long, and a quick audit was asked for",
        "canaries": "no secrets were planted in this run",
    }
    audit(run, "--parts", "updates, conformance")
    assert ran == ["conformance", "updates"] and list(results(run)["parts"]) == ["conformance", "updates"]
    assert results(run)["not_run"] == {"canaries": "it was not asked for"}
    audit(run, "--parts", "canaries")
    assert ran[-1] == "canaries", "who asks for it gets it, or is told why not"


def test_an_interrupted_audit_goes_on_where_it_was_with_all_that_was_found(run: Path, made_of: Made) -> None:
    ran = made_of(HELD, KeyboardInterrupt())
    one_line(audit(run), "kept", "chatfed audit", code=130)
    assert not (run / "audit.json").exists()
    ran = made_of(HELD, OPEN)
    assert audit(run).returncode == 0 and ran == ["updates"]
    whole = results(run)
    page = (run / "audit.html").read_text()
    assert audit(run, "--again").returncode == 0 and ran == ["updates", "conformance", "updates"]
    again = results(run)
    for each in (whole, again):
        each.pop("date")
        for part in each["parts"].values():
            part.pop("seconds")
    assert whole == again and all(word in page for word in ("<svg/>", "It does.", "how"))


def test_a_finished_part_is_not_taken_for_another_claim_or_with_another_run_beside_it(run: Path, made_of: Made) -> None:
    ran = made_of(HELD)
    audit(run)
    (run / "without-noise").mkdir()
    (run / "without-noise" / "privacy.json").write_text("{}")
    audit(run)
    assert ran == ["conformance"] * 2
    claim = json.loads((run / "privacy.json").read_text())
    (run / "privacy.json").write_text(json.dumps({**claim, "epsilon": 1.0}))
    audit(run)
    assert ran == ["conformance"] * 3


def test_a_finished_part_that_is_damaged_is_named(run: Path, made_of: Made) -> None:
    made_of(HELD)
    audit(run)
    kept = run / "audit" / "parts" / "conformance.json"
    kept.write_bytes(kept.read_bytes()[:-9])
    one_line(audit(run), "conformance.json", "--again", code=2)
    assert audit(run, "--again").returncode == 0


def test_when_the_time_is_over_the_part_at_work_stops_and_no_other_begins(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(run: Audited, say: Say) -> Part:
        while True:  # until it is stopped
            time.sleep(0.01)
            say("still at it")

    kinds = [parts.Kind(name, name, "tries", lambda: slow) for name in ("first", "second")]
    monkeypatch.setattr(parts, "KINDS", tuple(kinds))
    assert audit(run, "--minutes", 0.002).returncode == 1
    assert results(run)["parts"]["first"]["error"] == "out_of_time"
    assert results(run)["not_run"] == {"second": "the time that the audit may take was over"}


# The signature


def test_the_signature_is_what_its_description_says_read_by_other_code(run: Path, made_of: Made) -> None:
    made_of(HELD)
    audit(run)
    *signed, last = (run / "audit.sig").read_text().splitlines()
    assert signed[0] == "chatfed audit 1"
    for line, name in zip(signed[1:4], ("audit.json", "audit.html", "model/model.safetensors"), strict=True):
        assert line == f"{hashlib.sha256((run / name).read_bytes()).hexdigest()}  {name}"
    kind, public = signed[4].split(" ")
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
    key.verify(bytes.fromhex(last.removeprefix("signature ")), ("\n".join(signed) + "\n").encode())
    assert kind == "ed25519" and results(run)["signer"] == {"public": public, "named": False}


def test_a_key_made_for_the_run_is_nobody_elses_to_read_and_stays(run: Path, made_of: Made) -> None:
    made_of(HELD)
    audit(run)
    key = run / "state" / "audit.key"
    before = key.read_bytes()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and before.decode().strip() not in (run / "audit.sig").read_text()
    audit(run)
    assert key.read_bytes() == before
    assert "It is not the key of any auditor" in (run / "audit.html").read_text()


def test_an_auditors_own_key_signs_and_is_compared(run: Path, made_of: Made, tmp_path: Path) -> None:
    made_of(HELD)
    new_key(tmp_path / "auditor.key")
    assert audit(run, "--key", tmp_path / "auditor.key").returncode == 0
    public = roster_line("auditor", read_key(tmp_path / "auditor.key")).split(" ")[1]
    assert results(run)["signer"] == {"public": public, "named": True} and not (run / "state" / "audit.key").exists()
    assert "It is not the key of any auditor" not in (run / "audit.html").read_text()
    assert verify(run, "--key", public).returncode == 0 and "as you expect" in verify(run, "--key", public).stdout
    other = verify(run, "--key", "0f" * 32)
    assert other.returncode == 1 and re.search(r"^NO  signer: ", other.stdout, re.MULTILINE)
    one_line(verify(run, "--key", "0f"), "64 hex digits", code=2)


@pytest.mark.parametrize(
    "changed", ["audit.json", "audit.html", "model/model.safetensors", "privacy.json", "signature", "key", "hash"]
)
def test_verify_finds_every_change(run: Path, made_of: Made, changed: str) -> None:
    made_of(HELD)
    audit(run)
    if (run / changed).exists():
        content = bytearray((run / changed).read_bytes())
        at = content.index(b"7", 40)
        content[at : at + 1] = b"1"
        (run / changed).write_bytes(content)
        said = changed
    else:
        lines = (run / "audit.sig").read_text().splitlines()
        at = {"signature": 5, "key": 4, "hash": 1}[changed]
        place = 20
        lines[at] = lines[at][:place] + ("0" if lines[at][place] != "0" else "1") + lines[at][place + 1 :]
        (run / "audit.sig").write_text("\n".join(lines) + "\n")
        said = "signature: not by"
    done = verify(run)
    assert done.returncode == 1
    assert any(line.startswith(f"NO  {said}") for line in done.stdout.splitlines()), done.stdout


def test_what_planted_secrets_showed_is_worked_out_again_by_who_verifies(
    run: Path, made_of: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = json.loads((run / "privacy.json").read_text())
    (run / "privacy.json").write_text(json.dumps({**claim, "canaries": {"count": 64}}))
    made_of(replace(HELD, name="canaries"))
    audit(run, "--parts", "canaries")
    (run / "canaries").mkdir(exist_ok=True)
    told = [(True, "48 of 64"), (None, "the model was not looked at")]
    monkeypatch.setattr(retraced, "verify", lambda path: iter(told))
    done = verify(run)
    assert done.returncode == 0 and done.stdout.splitlines()[-2:] == ["OK  48 of 64", "--  the model was not looked at"]
    wrong = AuditError("the seed opens another commitment: bring the right one.")
    monkeypatch.setattr(retraced, "verify", Mock(side_effect=wrong))
    assert verify(run).returncode == 1 and "NO  canaries: the seed opens another" in verify(run).stdout


def test_a_new_audit_that_is_cut_off_leaves_no_signature_of_an_older_one(
    run: Path, made_of: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_of(HELD)
    audit(run)

    def cut_off(*given: Any) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(signing, "sign", cut_off)
    audit(run, "--again")
    one_line(verify(run), "audit.sig", code=2)


class Silence:
    """A sampler of noise that adds none."""

    def __init__(self, std: float) -> None:
        pass

    def sample(self, size: int, entropy: object) -> IntVector:
        return np.zeros(size, np.int64)


@pytest.mark.slow
def test_a_private_run_passes_and_fails_once_its_program_adds_no_noise(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = audit(run, "--quick")
    assert kept.returncode == 0, kept.stdout + kept.stderr
    assert results(run)["verdict"] == "holds"
    monkeypatch.setattr(upload, "discrete_gaussian", Silence)
    assert audit(run, "--quick", "--again").returncode == 1
    assert results(run)["verdict"] == "fault" and "conformance: fault" in (run / "audit.html").read_text()


def test_every_part_of_an_audit_has_its_place_in_the_annex() -> None:
    assert list(unmapped({"parts": {kind.name: {} for kind in parts.KINDS}})) == []


def test_the_help_and_the_documents_list_each_part_and_those_with_what_it_does() -> None:
    assert WHICH.partition(": ")[2].rstrip(".").split(", ") == [kind.name for kind in parts.KINDS]
    text = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", text, re.MULTILINE)
    assert [name for name, _ in rows] == [kind.name for kind in parts.KINDS]
    assert all(said.startswith(kind.tries) for (_, said), kind in zip(rows, parts.KINDS, strict=True))
