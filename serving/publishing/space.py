"""A folder for a Space: an app that serves the published model as our page, with what it needs. Knows no model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from chatfed import __version__

from .facts import Facts
from .refusals import PublishError

README = """---
title: {title}
sdk: gradio
sdk_version: {gradio}
python_version: "3.12"
app_file: app.py
pinned: false
license: {license}{models}
---

# {title}

The page of chatfed with the published model: chat, next words, leakage probe, and the guarantee beside it.

Open it at its own address (`https://OWNER-SPACE.hf.space`): the page refuses to be shown inside another, and the frame
of the hub is another. {model}{wheel}
"""
LOCAL = (
    "It serves the model in the folder above it, or the one that the variable `MODEL` names (a folder, or owner/name)."
)
REMOTE = "It serves `{repo}`, or what the variable `MODEL` names (a folder, or owner/name)."
NO_WHEEL = (
    "\n\n`requirements.txt` asks the package index for chatfed {version}. Where that is not there, publish again with "
    "`--wheel FILE`, which puts chatfed itself beside the app."
)
APP = '''"""Serves the published model as chatfed's page. MODEL: a folder or owner/name; PORT: else 7860."""

import os
import sys
from pathlib import Path

from chatfed.cli import main

HERE = Path(__file__).resolve().parent
REPO = {repo!r}


def model() -> str:
    """A folder that holds the model and its privacy.json."""
    named = os.environ.get("MODEL") or REPO or str(HERE.parent)
    if Path(named).is_dir():
        return named
    from huggingface_hub import snapshot_download

    return snapshot_download(named, ignore_patterns=["*.gguf", "space/*"])


def arguments() -> list[str]:
    """What `chatfed serve` is started with; a Space says by what name visitors know it."""
    given = ["--model", model(), "--port", os.environ.get("PORT", "7860")]
    host = os.environ.get("SPACE_HOST")
    return given + (["--host", "0.0.0.0", "--public-url", f"https://{{host}}"] if host else [])


if __name__ == "__main__":
    sys.exit(main(["serve", *arguments()]))
'''


def space_files(facts: Facts, wheel: Path | None) -> Iterator[tuple[str, str, str]]:
    """(name, what it is, text) of each file of the Space. Raises PublishError for a wheel that is none of chatfed."""
    import gradio

    if wheel is not None:
        _check(wheel)
    repo = facts.asked.repo
    about = README.format(
        title=facts.name.replace(":", " "),
        gradio=gradio.__version__,
        license=facts.asked.license or "unknown",
        models=f"\nmodels:\n- {repo}" if repo else "",
        model=REMOTE.format(repo=repo) if repo else LOCAL,
        wheel="" if wheel else NO_WHEEL.format(version=__version__),
    )
    yield "README.md", "of a Space", about
    yield "app.py", "serves the model as a page", APP.format(repo=repo)
    needs = f"./{wheel.name}" if wheel else f"chatfed=={__version__}"
    yield "requirements.txt", "what the app needs", f"{needs}\n"


def _check(wheel: Path) -> None:
    try:
        names = ZipFile(wheel).namelist()
    except (OSError, BadZipFile):
        names = []
    if "chatfed/serving/app.py" not in names or wheel.suffix != ".whl":
        raise PublishError(
            f"{wheel} is no wheel of chatfed; make one with: pip wheel --no-deps --wheel-dir dist .", param="--wheel"
        )
