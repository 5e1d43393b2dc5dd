"""docs/api-http.md: its commands are run as they stand there, against a server of the name and port that they give."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from chatfed import Chat
from serving.api import fields, requests
from tests.serving.api.running import OPERATOR_KEY, Running, running

PAGE = (Path(__file__).resolve().parents[3] / "docs/api-http.md").read_text()
COMMANDS = [block for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if block.startswith("curl")]


@pytest.fixture(scope="module")
def default_server(wide_chat: Chat) -> Iterator[Running]:
    from serving.api.keys import Keys
    from serving.api.options import ApiOptions
    from serving.api.routes import api

    with running(api(wide_chat, wide_chat, ApiOptions("default", Keys(operators=[OPERATOR_KEY])))) as server:
        yield server


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_of_the_page_is_answered(default_server: Running, tmp_path: Path, command: str) -> None:
    assert shutil.which("curl"), "curl is needed: apt-get install curl"
    (tmp_path / "operator.keys").write_text(f"# mine\n{OPERATOR_KEY}\n")
    here = command.replace("http://127.0.0.1:7860", default_server.url)
    plain = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(
        ["bash", "-ceu", here], cwd=tmp_path, env=plain, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.rstrip().endswith("data: [DONE]") or json.loads(done.stdout)["object"] in (
        "chat.completion",
        "text_completion",
        "response",
        "leakage",
    )


def test_the_pages_program_prints_a_reply(default_server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    program = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    exec(program.replace("http://127.0.0.1:7860", default_server.url), {})  # noqa: S102 (our own page)
    assert capsys.readouterr().out.strip()


def test_the_page_names_every_field_that_has_an_effect() -> None:
    read = [*requests.CHAT_FIELDS, *requests.COMPLETION_FIELDS, *requests.RESPONSE_FIELDS]
    effective = {each.name for each in read if not isinstance(each, fields.Only)}
    assert {name for name in effective if f"`{name}" not in PAGE} == set()
