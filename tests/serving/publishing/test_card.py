"""What the card, the table and the registry's entry say, read by the programs that they are for."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from huggingface_hub import ModelCard

from serving.publishing.facts import Asked, gather
from serving.publishing.pieces import pieces
from serving.publishing.registry import SCHEMA, entry
from serving.publishing.sp800_226 import page
from tests.serving.publishing.conftest import write_audit, write_claim

SCHEMA_FILE = Path(__file__).with_name("deployments-schema.yaml")


def card_of(run: Path, tmp_path: Path, **asked: Any) -> str:
    (piece,) = [each for each in pieces(gather(run, Asked(**asked)), "f32", None) if each.name == "README.md"]
    piece.write(tmp_path / "card.md")
    return (tmp_path / "card.md").read_text(encoding="utf-8")


def test_the_hub_s_own_reader_finds_license_language_base_tags_and_figures(run: Path, tmp_path: Path) -> None:
    text = card_of(run, tmp_path, license="apache-2.0", languages=("en", "de"), base_model="a/b", name='A "name": 1')
    data: Any = ModelCard(text).data
    assert (data.license, data.language, data.base_model) == ("apache-2.0", ["en", "de"], "a/b")
    assert data.tags == ["chatfed", "federated-learning", "differential-privacy", "dp-sgd"]
    assert data.library_name == "transformers" and data.pipeline_tag == "text-generation"
    assert data.eval_results is not None
    found = {result.metric_name: (result.metric_type, result.metric_value) for result in data.eval_results}
    assert found["Perplexity per word"] == ("perplexity", 61.24)
    assert found["Next word right (top 1)"] == ("accuracy", 38.2)
    assert "epsilon" not in text.split("---\n")[1], "hubs have no key for epsilon, and none is made up"


def test_the_first_sentence_is_the_guarantee_and_conditions_stand_with_every_figure(run: Path, tmp_path: Path) -> None:
    text = card_of(run, tmp_path)
    body = text.split("---\n")[2]
    assert body.split("\n\n")[1].startswith("**Whether any one dialogue was learned from, a guess tells rightly")
    assert "(7.51, 1e-5)-differential privacy for one dialogue (add or remove one)" in body, "rounded up, with its unit"
    assert "5 dialogues together: ε = 18.20, weak" in body and "Trained in a simulation" in body
    assert "| Perplexity per word | 96.4 | 61.24 |" in body and "1,234 words" in body


def test_what_attackers_got_stands_on_the_card_as_not_covered(run: Path, tmp_path: Path) -> None:
    write_audit(run)
    text = card_of(run, tmp_path)
    assert "- Guesses (holds): " in text and "no epsilon covers them" in " ".join(text.replace("*", "").split())


def test_a_table_keeps_its_columns_whatever_a_claim_says(run: Path) -> None:
    rows = [line for line in page(gather(run, Asked())).splitlines() if line.startswith("|")]
    cells = [len(line.replace("\\|", "").split("|")) for line in rows]
    assert len(rows) > 12 and set(cells) == {4}
    for point in ("Unit of privacy", "Adjacency", "Epsilon and delta", "Trust model", "Side channels", "Security"):
        assert any(line.startswith(f"| {point}") for line in rows), point


@pytest.mark.parametrize("odd", ["quote ' and \" and: colon # hash", "two\nlines", "€ ε ünï", "- dash", "{brace}"])
def test_the_entry_fits_the_registry_s_schema_whatever_texts_are_in_it(run: Path, odd: str) -> None:
    write_claim(run, assumptions=[odd], excludes=[odd, odd], sampling=odd)
    written = entry(gather(run, Asked(name=odd, curators=(odd,))))
    found = yaml.safe_load(written)
    schema = yaml.safe_load(SCHEMA_FILE.read_text(encoding="utf-8"))
    validator = jsonschema.Draft7Validator(schema, format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER)
    assert [error.message for error in validator.iter_errors(found)] == []
    assert found["status"] == "Draft" and SCHEMA in written and SCHEMA in SCHEMA_FILE.read_text(encoding="utf-8")
    deployment = found["deployment"]
    assert deployment["basic"]["name"] == " ".join(odd.split()) and deployment["basic"]["data_curators"][0]
    assert deployment["privacy_loss"]["privacy_parameters"] == {"epsilon": 7.5001, "delta": 1e-5}
    assert datetime.date.fromisoformat(deployment["basic"]["publication_date"])
    assert "simulation" in deployment["deployment_model"]["model_name_details"]


def test_a_schema_that_is_broken_is_noticed(run: Path) -> None:
    found = yaml.safe_load(entry(gather(run, Asked())))
    found["deployment"]["basic"]["epsilon"] = 1
    schema = yaml.safe_load(SCHEMA_FILE.read_text(encoding="utf-8"))
    assert not jsonschema.Draft7Validator(schema).is_valid(found)
