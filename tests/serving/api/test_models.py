from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from serving.api.options import model_name, origin
from tests.serving.api.running import Running

NO_NAMES = ["../../etc/passwd", "..", "tiny/../tiny", "TINY", "tiny ", "\x00", "tiny\n", "%2e%2e", "x" * 5000]


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_models_name_is_not_found(api_server: Running, name: str) -> None:
    status, error = api_server.refusal(f"/v1/models/{quote(name, safe='')}")
    assert status == 404 and error["code"] == "model_not_found"
    asked = {"model": name, "messages": [{"role": "user", "content": "hi"}]}
    status, error = api_server.refusal("/v1/chat/completions", asked)
    assert status == 404 and error["code"] == "model_not_found" and error["param"] == "model"
    assert name not in error["message"]


def test_the_reference_is_the_operators(api_server: Running) -> None:
    assert [each["id"] for each in api_server.json("/v1/models", key=None)["data"]] == ["tiny"]
    assert api_server.json("/v1/models/tiny-reference")["object"] == "model"
    assert api_server.refusal("/v1/models/tiny-reference", key=None)[0] == 403
    asked = {"model": "tiny-reference", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    assert api_server.refusal("/v1/chat/completions", asked, key=None)[0] == 403
    assert api_server.json("/v1/chat/completions", asked)["model"] == "tiny-reference"


def test_fingerprints_tell_models_apart_and_stay(api_server: Running) -> None:
    def fingerprint(model: str) -> str:
        asked = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
        return str(api_server.json("/v1/chat/completions", asked)["system_fingerprint"])

    assert fingerprint("tiny") == fingerprint("tiny") != fingerprint("tiny-reference")


def test_a_model_is_called_by_its_runs_name(tmp_path: Path) -> None:
    named = {"runs/default/model": "default", "runs/default/reference": "default", "my model ü": "my-model"}
    assert {path: model_name(tmp_path / path) for path in named} == named


def test_an_origin_is_scheme_host_and_port() -> None:
    assert origin("HTTPS://Notes.example:8443/") == "https://notes.example:8443"
    for wrong in ("*", "notes.example", "https://*.example", "https://a@b", "file:///x", "https://a/path", "null"):
        with pytest.raises(ValueError, match=r".*"):
            origin(wrong)


def test_what_is_no_route_is_said_as_json(api_server: Running) -> None:
    assert api_server.refusal("/v1/embeddings", {"input": "x"})[0] == 404
    status, headers, _ = api_server.ask("/v1/chat/completions")
    assert status == 405 and headers["allow"] == "POST"
