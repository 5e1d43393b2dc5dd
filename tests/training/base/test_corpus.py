"""Every dialogue has one part, paths are told from hub names, and the generated corpus is its generator's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chatfed.data import helpdesk
from chatfed.data.helpdesk import HelpdeskCorpus
from chatfed.data.values import DataError
from chatfed.types import ChatfedError
from training.base import corpus
from training.base.corpus import generated_help_desk, load_corpus
from training.plan.recipe import DataSection


def written(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def said(text: str, **more: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}], **more}


@pytest.fixture
def data(tmp_path: Path) -> str:
    return written(tmp_path / "data.jsonl", [said(f"word {i}", client_id=f"c{i % 5}") for i in range(20)])


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Seeds that the generator was asked for; what it makes is tiny."""
    asked: list[int] = []
    monkeypatch.setattr(helpdesk, "generate", lambda seed: asked.append(seed))
    monkeypatch.setattr(helpdesk, "write", lambda made, folder: (folder.mkdir(), (folder / "private.jsonl").touch()))
    return asked


def test_the_generated_corpus_is_made_once_and_anew_when_its_generator_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invented: list[int]
) -> None:
    first = generated_help_desk(tmp_path, 3)
    assert generated_help_desk(tmp_path, 3) == first and invented == [3]
    monkeypatch.setattr(corpus, "_source_digest", lambda package: "another text")
    assert generated_help_desk(tmp_path, 3) != first and invented == [3, 3]


def test_a_smaller_house_is_generated_beside_the_default_one(tmp_path: Path) -> None:
    made = load_corpus(DataSection(clients=5), True, tmp_path)
    assert len(made.clients) == 5 and not made.dealt and made.public is not None and len(made.public) <= 100
    folder = generated_help_desk(tmp_path, 1, 5)
    held_out = {json.loads(line)["client_id"] for line in (folder / "held_out.jsonl").read_text().splitlines()}
    assert len(held_out) == 3 and folder.name.startswith("helpdesk-1-5-")


def test_the_generator_s_digest_covers_every_file_of_it(tmp_path: Path) -> None:
    (tmp_path / "content").mkdir()
    digests = set()
    for path in (tmp_path / "one.py", tmp_path / "content" / "two.py", tmp_path / "content" / "two.py"):
        with path.open("a") as file:
            file.write("text = 1\n")
        digests.add(corpus._source_digest(tmp_path))
    assert len(digests) == 3


def test_a_corpus_half_written_by_a_killed_process_is_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, invented: list[int]
) -> None:
    whole = helpdesk.write

    def half(made: HelpdeskCorpus, folder: Path) -> None:
        whole(made, folder)
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(helpdesk, "write", half)
        with pytest.raises(KeyboardInterrupt):
            generated_help_desk(tmp_path, 3)
    generated_help_desk(tmp_path, 3)
    assert invented == [3, 3] and [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("name", ["Magpie-Align/Magpie-Llama-3.1-Pro-300K", "owner/set", "squad"])
def test_a_hub_name_may_have_a_dot(name: str) -> None:
    corpus._check_path(name)


@pytest.mark.parametrize(
    "name", ["mine.jsonl", "a/b.JSON", "c.txt.gz", "d.csv", "e.parquet", "./f", "/g", "~/h", "../i"]
)
def test_a_path_that_is_not_there_is_never_asked_for_on_the_hub(name: str) -> None:
    with pytest.raises(ChatfedError, match="no data file"):
        corpus._check_path(name)


@pytest.mark.parametrize("pair", [("source", "validation"), ("source", "public"), ("validation", "public")])
def test_one_file_cannot_play_two_parts(tmp_path: Path, data: str, pair: tuple[str, str]) -> None:
    copy = written(tmp_path / "copy.jsonl", [])
    Path(copy).write_bytes(Path(data).read_bytes())
    other = written(tmp_path / "other.jsonl", [said("quite another word", client_id="c")])
    given: dict[str, Any] = {"source": other, "validation": "", "public": "", pair[0]: data, pair[1]: copy}
    with pytest.raises(DataError, match="is the same file as") as caught:
        load_corpus(DataSection(**given), False, tmp_path)
    assert caught.value.param == f"data.{pair[1]}"


def test_held_out_clients_have_dialogues(tmp_path: Path) -> None:
    """Dealt by a label to more clients than it can fill, many stay empty."""
    source = written(tmp_path / "data.jsonl", [said(f"word {i}", topic=f"t{i % 2}") for i in range(12)])
    for seed in range(6):
        made = load_corpus(DataSection(source=source, label_column="topic", clients=30, seed=seed), False, tmp_path)
        assert len(made.held_out) >= 1
        assert len(made.held_out) + sum(map(len, made.clients.values())) == 12


def test_dialogues_of_a_file_are_not_said_to_be_of_clients_that_never_trained() -> None:
    assert "never trained" in DataSection().held_out
    assert "never trained" not in DataSection(validation="held-out.jsonl").held_out


def test_what_was_not_read_is_said_before_a_run_and_options_reach_every_source(tmp_path: Path) -> None:
    rows = [said(f"word {i}", client_id=f"c{i % 5}", tools=["f"], summary="s") for i in range(20)]
    held_out = [said("held out", tools=["g"])]
    settings = DataSection(
        source=written(tmp_path / "data.jsonl", rows), validation=written(tmp_path / "held.jsonl", held_out)
    )
    with pytest.raises(ChatfedError, match=r"data\.jsonl, line 1: tools is there.*--ignore-columns tools"):
        load_corpus(settings, False, tmp_path / "cache")
    settings = replace(settings, ignore_columns=("tools",))
    notes = load_corpus(settings, False, tmp_path / "cache").notes
    assert f"{settings.source}: Columns that nobody read: summary (20 records)." in notes
    assert f"{settings.validation}: Left out because ignore_columns says so: tools (1 record)." in notes


def test_a_chat_s_authors_are_its_clients(tmp_path: Path) -> None:
    people = ("Anna", "Bob", "Cem", "Dana")
    lines: list[dict[str, object]] = [
        {"ticket_id": f"{name}-{place}", "author": who, "text": text}
        for name in people
        for place in range(3)
        for who, text in ((name, f"the door {place} of {name} sticks"), ("Desk", "lift it"))
    ]
    settings = DataSection(source=written(tmp_path / "data.jsonl", lines), me=("Desk",))
    corpus = load_corpus(settings, False, tmp_path / "cache")
    assert {*corpus.clients, *(dialogue.client_id for dialogue in corpus.held_out)} == set(people)
    assert [turn.role for turn in corpus.private[0].messages] == ["user", "assistant"]
