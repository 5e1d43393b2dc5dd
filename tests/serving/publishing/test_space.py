"""The Space's app, started as a Space starts it: it serves the published model with its guarantee."""

from __future__ import annotations

import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest
import yaml

from benchmarks.servers import port_in, served
from chatfed import __version__
from chatfed.cli import main

ROOT = Path(__file__).resolve().parents[3]


def publish(run: Path, to: Path, *options: str) -> Path:
    assert main(["publish", str(run), "--to", str(to), "--gguf", "none", *options]) == 0
    return to / "space"


def opened(said: str) -> str | None:
    """The page, as soon as it answers."""
    port = port_in(said)
    if not port:
        return None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}", timeout=5) as reply:
        return str(reply.read().decode())


@pytest.mark.slow
def test_the_app_serves_the_folder_that_it_lies_in_with_its_guarantee(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = publish(run, tmp_path / "out")
    for name in ("MODEL", "SPACE_HOST"):
        monkeypatch.delenv(name, raising=False)
    given = {"PORT": "0", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with served([sys.executable, "app.py"], tmp_path / "app.log", opened, space, **given) as (_, page):
        pass
    assert "7.51 per dialogue" in page.replace("\\u03b5", "ε")


def test_a_wheel_goes_beside_the_app_and_is_what_it_needs(run: Path, tmp_path: Path) -> None:
    wheel = tmp_path / f"chatfed-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("chatfed/serving/app.py", "")
    space = publish(run, tmp_path / "out", "--wheel", str(wheel), "--repo", "owner/name", "--license", "mit")
    assert (space / "requirements.txt").read_text() == f"./{wheel.name}\n" and (space / wheel.name).is_file()
    about = yaml.safe_load((space / "README.md").read_text().split("---\n")[1])
    assert about["sdk"] == "gradio" and about["app_file"] == "app.py" and about["models"] == ["owner/name"]
    assert (space / about["app_file"]).is_file() and about["license"] == "mit"
    assert "REPO = 'owner/name'" in (space / "app.py").read_text()


def test_the_space_asks_for_the_gradio_that_the_page_was_made_for(run: Path, tmp_path: Path) -> None:
    import gradio

    space = publish(run, tmp_path / "out")
    about = yaml.safe_load((space / "README.md").read_text().split("---\n")[1])
    assert about["sdk_version"] == gradio.__version__
    assert (space / "requirements.txt").read_text() == f"chatfed=={__version__}\n"
