"""What a proxy hands on is refused where the page was started for this machine alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tests.serving.test_proxy as behind
from serving.application import make_application
from serving.guard import PublicAddress
from serving.run_folder import RunFolder
from serving.straight import Straight
from tests.serving.page_server import Visitor, hosted
from training.workers import free_ports

BROWSER = {"Sec-Fetch-Mode": "navigate", "Connection": "keep-alive"}  # a part of what each sends


def application(model: Path, **more: Any) -> Any:
    from serving.api.options import ApiOptions

    api = ApiOptions.read(model, None, None, (), True, ()) if not more else None
    run = RunFolder(model=model, reference=None, privacy=None, summary=None, metrics=())
    return make_application(run, language="en", api=api, **more)


def test_only_what_comes_straight_is_answered_by_the_page_and_the_api(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with hosted(application(tiny_base)) as port:
        visitor = Visitor(port)
        for path in ("/", "/theme.css", "/v1/models"):
            assert visitor.ask("GET", path)[0] == 200
            for name in ("X-Forwarded-For", "x-forwarded-proto", "Forwarded", "Via", "X-Real-IP"):
                status, _, said = visitor.ask("GET", path, **{name: "1"})
                assert status == 403 and "--public-url" in said and "--root-path" in said, (path, name)


@pytest.mark.parametrize(
    ("lines", "refused"),
    [
        (behind.STRIPPED, (BROWSER, {})),
        (behind.STRIPPED + "proxy_http_version 1.1; proxy_set_header Connection '';", (BROWSER,)),
    ],
    ids=["nginx as Debian has it", "nginx from 1.29.7 on"],
)
def test_a_plain_nginx_that_says_nothing_is_seen(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, refused: tuple[dict[str, str], ...]
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    (outside,) = free_ports(1)
    with hosted(application(tiny_base)) as inside, behind.proxied(tmp_path, outside, lines.format(page=inside)):
        for path in ("/", "/theme.css", "/v1/models"):
            assert Visitor(inside).ask("GET", path, **BROWSER)[0] == 200, "a browser at this machine is kept out"
            for headers in refused:
                status, said = behind.asked(outside, f"/chat{path}", **headers)
                assert status == 403 and "--public-url" in said, (path, headers)


@pytest.mark.parametrize(
    "more",
    [{"public": PublicAddress.parse("https://chat.example")}, {"hosts": ["chat.example"]}, {"only_loopback": False}],
)
def test_a_page_for_others_takes_what_a_proxy_hands_on(tiny_base: Path, more: dict[str, Any]) -> None:
    assert Straight not in [each.cls for each in application(tiny_base, **more).user_middleware]
