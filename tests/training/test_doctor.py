"""`chatfed doctor`: what is wrong with a machine is one line that says what to do, and exit code 1."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from chatfed.model.transformer import OFFLINE
from tests.training.processes import here
from training import doctor


def test_a_package_that_is_missing_or_too_old_is_named_with_the_command_that_mends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = ["torch>=99,<100", "no-such-package-of-ours>=1", "numpy>=2.0,<3", "pytest>=8; extra == 'dev'", "gradio>=6"]
    monkeypatch.setattr(doctor, "_asked_for", lambda: asked)
    found = {finding.about: finding for finding in doctor.packages()}
    assert found.keys() == {"torch", "no-such-package-of-ours", "gradio"}, "what fits is told of the large ones only"
    assert found["torch"].mend == "<100,>=99 is needed: pip install 'torch>=99,<100'"
    assert str(found["no-such-package-of-ours"]).endswith("not installed; pip install 'no-such-package-of-ours>=1'")
    assert found["gradio"].mend == ""


def test_what_a_checkout_asks_for_is_read_from_its_own_list() -> None:
    assert any(line.startswith("torch>=") for line in doctor._asked_for())
    assert not any(line.startswith("pytest") for line in doctor._asked_for())


def test_a_full_disk_and_a_folder_that_is_a_file_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.room("runs", tmp_path / "not" / "yet").mend == ""
    assert not (tmp_path / "not").exists()
    (tmp_path / "file").write_text("")
    assert "--out" in doctor.room("runs", tmp_path / "file").mend
    left = shutil.disk_usage(tmp_path)._replace(free=5 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: left)
    assert "1.0 GiB is needed" in doctor.room("runs", tmp_path).mend


def test_a_setting_that_lets_the_hub_be_asked_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OFFLINE:
        monkeypatch.delenv(name, raising=False)
    assert doctor.network().mend == ""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert "HF_HUB_OFFLINE=0" in str(doctor.network()) and doctor.network().mend


def test_a_machine_that_lacks_something_leaves_with_1_and_the_rest_is_still_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_asked_for", lambda: ["torch>=99"])
    done = here("--out", tmp_path, command="doctor")
    lines = done.stdout.splitlines()
    assert done.returncode == 1 and [line for line in lines if line.startswith("NO")] == [
        line for line in lines if "torch" in line
    ]
    assert any(line.startswith("OK  runs: ") and str(tmp_path) in line for line in lines)
