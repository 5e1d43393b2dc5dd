"""What is refused though its weights are the right ones: links, code, unknown keys, and a claim made smaller."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from serving.publishing.facts import Asked, gather
from serving.publishing.pieces import pieces
from serving.publishing.refusals import PublishError
from tests.serving.publishing.conftest import write_audit, write_claim


def refusal(run: Path) -> str:
    with pytest.raises(PublishError) as refused:
        pieces(gather(run, Asked()), "none", None)
    return str(refused.value)


def change(path: Path, **keys: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def written(run: Path, name: str, tmp_path: Path) -> str:
    (piece,) = [each for each in pieces(gather(run, Asked()), "none", None) if each.name == name]
    piece.write(tmp_path / "piece")
    return (tmp_path / "piece").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", ["model/vocab.json", "model/model.safetensors", "model/chat_template.jinja", "privacy.json", "audit.html"]
)
def test_no_link_is_followed(run: Path, tmp_path: Path, name: str) -> None:
    write_audit(run)
    place, elsewhere = run / name, tmp_path / "elsewhere"
    elsewhere.write_bytes(place.read_bytes() if place.is_file() else b"{}")
    place.unlink(missing_ok=True)
    place.symlink_to(elsewhere)
    assert f"{place} is a link" in refusal(run)


def test_a_file_that_became_a_link_since_it_was_looked_at_is_not_copied(run: Path, tmp_path: Path) -> None:
    (piece,) = [each for each in pieces(gather(run, Asked()), "none", None) if each.name == "privacy.json"]
    (run / "privacy.json").rename(tmp_path / "moved")
    (run / "privacy.json").symlink_to(tmp_path / "moved")
    with pytest.raises(PublishError, match="is a link"):
        piece.write(tmp_path / "copied")
    assert not (tmp_path / "copied").exists()


@pytest.mark.parametrize("content", ["root:x:0:0", "[1]", "[" * 100_000])
def test_what_should_be_json_and_is_not_is_refused(run: Path, content: str) -> None:
    (run / "model" / "vocab.json").write_text(content)
    assert "vocab.json" in refusal(run)


@pytest.mark.parametrize(
    ("name", "keys", "said"),
    [
        ("config.json", {"auto_map": {"AutoConfig": "theirs--code.Config"}}, "'auto_map'"),
        ("config.json", {"rope_parameters": {"auto_map": {}}}, "'auto_map'"),
        ("tokenizer_config.json", {"auto_map": {}}, "'auto_map'"),
        ("tokenizer_config.json", {"trust_remote_code": True}, "'trust_remote_code'"),
        ("generation_config.json", {"custom_generate": "theirs/code"}, "'custom_generate'"),
        ("config.json", {"my_data_lay_in": "/home/me"}, "'my_data_lay_in'"),
        ("generation_config.json", {"my_data_lay_in": "/home/me"}, "'my_data_lay_in'"),
        ("config.json", {"model_type": "mine"}, "'mine'"),
    ],
)
def test_keys_that_run_code_or_that_nothing_knows_are_refused_by_name(
    run: Path, name: str, keys: dict[str, Any], said: str
) -> None:
    change(run / "model" / name, **keys)
    error = refusal(run)
    assert said in error and name in error


def test_keys_of_older_versions_and_of_known_bases_are_no_reason_to_refuse(run: Path, tmp_path: Path) -> None:
    change(
        run / "model" / "config.json", torch_dtype="float32", rope_interleaved=False, **{"transformers.js_config": {}}
    )
    assert json.loads(written(run, "config.json", tmp_path))["torch_dtype"] == "float32"


def test_the_card_says_what_its_hash_does_not_bind_and_has_the_hashes_of_that(run: Path, tmp_path: Path) -> None:
    (run / "model" / "chat_template.jinja").write_text("another")
    change(run / "model" / "config.json", _name_or_path="/home/me")
    card = written(run, "README.md", tmp_path)
    assert "are not bound by that hash" in card
    assert f"`chat_template.jinja` `{hashlib.sha256(b'another').hexdigest()}`" in card
    config = written(run, "config.json", tmp_path)
    assert "/home/me" not in config, "where the model lay is left out"
    assert f"`config.json` `{hashlib.sha256(config.encode()).hexdigest()}`" in card, "as published"


def in_summary(run: Path, **said: Any) -> None:
    change(run / "summary.json", **said)


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ({"epsilon": 7.6}, "summary.json"),
        ({"epsilon": None}, "summary.json"),
        ({"delta": 2e-5}, "summary.json"),
    ],
)
def test_a_claim_below_the_summary_s_is_refused(run: Path, said: dict[str, Any], where: str) -> None:
    in_summary(run, **said)
    assert f"but {where} says" in refusal(run)


def test_a_claim_below_the_last_round_s_is_refused(run: Path) -> None:
    write_claim(run, epsilon=7.4)
    assert "privacy.json says epsilon 7.4, but the last round in metrics.jsonl says 7.5" in refusal(run)
    (run / "metrics.jsonl").unlink()
    assert "per_round" in refusal(run), "privacy.json itself has it too"


def test_a_claim_that_is_what_was_recorded_goes_out(run: Path) -> None:
    in_summary(run, epsilon=7.5001, delta=1e-5)
    assert gather(run, Asked()).claim is not None


@pytest.mark.parametrize(
    ("claim", "tags"),
    [
        ({}, {"differential-privacy", "dp-sgd"}),
        ({"unit": "client"}, {"differential-privacy"}),
        ({"unit": "simulated client"}, {"differential-privacy"}),
        ({"coefficients": [1.0, 0.5]}, {"differential-privacy", "dp-ftrl"}),
    ],
)
def test_tags_name_the_mechanism_that_was_used(
    run: Path, tmp_path: Path, claim: dict[str, Any], tags: set[str]
) -> None:
    write_claim(run, **claim)
    card = written(run, "README.md", tmp_path)
    found = {line[2:] for line in card.split("---\n")[1].splitlines() if line.startswith("- d")}
    assert found == tags
    assert card.count("In figures:") == 1
