"""One wheel holds library and programs: installed where there is no checkout, the command trains and serves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PARTS = {
    "chatfed": "chatfed",
    "training": "chatfed/training",
    "serving": "chatfed/serving",
}  # of the checkout, in the wheel
NO_MODULE = "raise ImportError('a stranger, and not ours')\n"


def build(kind: str, folder: Path) -> Path:
    code = f"import sys, hatchling.build; print(hatchling.build.build_{kind}(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, capture_output=True, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_library_and_programs_under_one_name(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0].split("-")[0] for name in names} == {"chatfed"}
    for folder, inside in PARTS.items():
        ours = {path.relative_to(ROOT / folder).as_posix() for path in (ROOT / folder).rglob("*.py")}
        assert ours and {f"{inside}/{name}" for name in ours} <= names
    assert {"chatfed/py.typed", "chatfed/serving/page.css", "chatfed/training/recipes/quick.toml"} <= names
    assert not any("test" in name.lower() or name.endswith((".pyc", ".html")) for name in names)


def test_an_editable_install_copies_no_file_and_points_at_the_checkout(tmp_path: Path) -> None:
    held = zipfile.ZipFile(build("editable", tmp_path))
    assert {name for name in held.namelist() if "dist-info" not in name} == {"_chatfed.pth"}
    assert held.read("_chatfed.pth").decode().split() == [str(ROOT)]


@dataclass(frozen=True)
class Installed:
    """The command of a venv that holds the wheel, and a folder to use it in."""

    bin: Path
    folder: Path

    def start(self, *arguments: str, **more: object) -> subprocess.Popen[str]:
        names = ("PYTHONPATH", "VIRTUAL_ENV", "OMP_NUM_THREADS")
        clean = {name: value for name, value in os.environ.items() if name not in names}
        told = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, **more}
        return subprocess.Popen([self.bin / arguments[0], *arguments[1:]], cwd=self.folder, env=clean, **told)  # type: ignore[call-overload, no-any-return]

    def run(self, *arguments: str) -> str:
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=240)
        assert process.returncode == 0, said
        return str(said)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel by pip in a venv of its own; what it depends on is borrowed from the tests' own, where torch is.

    The folder has packages of a stranger that are called like ours.
    """
    home = tmp_path_factory.mktemp("stranger")
    venv.create(home / "venv", with_pip=True)
    python = home / "venv" / "bin" / "python"
    pip: list[str | Path] = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--disable-pip-version-check",
        wheel,
    ]
    subprocess.run(pip, check=True, cwd=home)
    (site,) = (home / "venv").glob("lib/python*/site-packages")
    borrowed = [path for path in sys.path if path.endswith("site-packages")]  # whose own .pth files are not read
    (site / "borrowed.pth").write_text("\n".join(borrowed))
    for name in ("training", "serving"):
        (home / "work" / name).mkdir(parents=True)
        (home / "work" / name / "__init__.py").write_text(NO_MODULE)
    return Installed(python.parent, home / "work")


@pytest.fixture(scope="module")
def trained(installed: Installed) -> Path:
    """The folder of a real run by the installed command."""
    installed.run("chatfed", "train", "--quick")
    return installed.folder / "runs" / "quick"


@pytest.mark.slow
def test_the_installed_command_trains_with_a_claim_that_the_run_earns(trained: Path) -> None:
    privacy = json.loads((trained / "privacy.json").read_text())
    summary = json.loads((trained / "summary.json").read_text())
    assert 0 < privacy["epsilon"] <= 8 and privacy["unit"] == "dialogue" and privacy["strength"] == "moderate"
    assert summary["rounds"] == 3 and summary["clients"] == 30
    assert summary["after"]["bits_per_byte"] < summary["before"]["bits_per_byte"]


@pytest.mark.slow
def test_the_installed_command_serves_what_it_trained(installed: Installed, trained: Path) -> None:
    process = installed.start("chatfed", "serve", "--model", "runs/quick", "--port", "0")
    try:
        assert process.stdout is not None
        said = next(line for line in process.stdout if "http://" in line)
        url = next(word for word in said.split() if word.startswith("http://"))
        assert "chatfed" in opened(url)
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0


def opened(url: str) -> str:
    """The page; its address is printed a moment before it answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for left in reversed(range(100)):
        try:
            return str(opener.open(url, timeout=5).read().decode())
        except OSError:
            if not left:
                raise
            time.sleep(0.1)
    raise AssertionError


@pytest.mark.slow
def test_the_installed_command_knows_its_own_recipes_and_programs(installed: Installed) -> None:
    assert "30 clients" in installed.run("chatfed", "plan", "--quick")
    assert "NO  " not in installed.run("chatfed", "doctor")
    where = "import chatfed, importlib.util as u; print(chatfed.__file__, u.find_spec('chatfed.training').origin)"
    for path in installed.run("python", "-c", where).split():
        assert Path(path).is_relative_to(installed.bin.parent)
