"""The main job as a person runs it: from a file to a run folder, and on again after SIGKILL."""

from __future__ import annotations

import json
import math
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chatfed.audit.comparison import sentence
from chatfed.privacy.accounting import epsilon
from chatfed.privacy.guarantee import Adjacency
from tests.training.processes import PLAIN, TINY, here, ledgers, ledgers_below, rows, settings, stored
from training.base.tokens import open_tokens
from training.durable import DiskError
from training.parties.homes import AT_WORK
from training.parties.store import number_of
from training.plan.recipe import load_recipe
from training.run.display import Display, RoundBar
from training.run.release import write_page
from training.run.run_folder import RunFolder

if TYPE_CHECKING:
    from chatfed.data.helpdesk import HelpdeskCorpus


NOISE = 1.1


@pytest.fixture(scope="module")
def finished(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A whole run with its own pre-training and the run without noise beside it, and what it said."""
    place = tmp_path_factory.mktemp("run")
    tiny = [part for each in TINY for part in ("--set", f"model.{each}")]
    speed = settings(runtime__cache=f'"{place / "cache"}"', runtime__workers=1, runtime__evaluation_dialogues=10)
    given = settings(
        privacy__noise_multiplier=NOISE, pretrain__epochs=0.3, privacy__local_steps=2, privacy__sampling_rate=0.25
    )
    done = here(
        *("--data", tiny_data / "private.jsonl", "--validation", tiny_data / "held_out.jsonl", "--recipe", PLAIN),
        *("--public", tiny_data / "public.jsonl", "--rounds", "3", "--cohort", "4", "--out", place / "out"),
        *("--reference", *tiny, *speed, *given),
    )
    assert done.returncode == 0, done.stderr
    return place / "out", done.stdout


def test_a_run_folder_holds_everything_and_nothing_half_written(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *("recipe.toml", "metrics.jsonl", "privacy.json", "summary.json", "report.html"),
        *("model", "reference", "state", "without-noise"),
    }
    assert {path.name for path in (folder / "without-noise").iterdir()} == names - {"without-noise"}
    assert [path for path in folder.rglob(".*") if path.is_file()] == []
    assert list(folder.rglob("*-old")) == []


def nothing_opens(folder: Path) -> bool:
    """Whether all keys of a run's clients are overwritten; there is a slot for each client that was asked."""
    keys = [path.read_bytes() for path in (folder / "state" / "clients").glob("*.keys")]
    assert any(keys), "clients had keys"
    return not any(map(any, keys))


def test_no_client_s_update_is_left_in_a_finished_run_nor_a_key_to_what_the_disk_may_remember(
    finished: tuple[Path, str],
) -> None:
    folder, _ = finished
    clients = {number_of(client).hex() for client in open_tokens(folder / "state" / "private").clients}
    files = {f"{store}.db{kind}" for store in range(4) for kind in ("", "-wal", "-shm", ".keys", ".lock")}
    for run, ledger in ((folder, {"ledger", "charge 0", "charge 1"}), (folder / "without-noise", set())):
        records = stored(run)
        assert {row.name for row in records} == {*ledger, "finished"}, "no update, no round, nothing begun"
        assert {row.client for row in records} == clients
        assert nothing_opens(run)
        assert {path.name for path in (run / "state" / "clients").iterdir()} <= {*files, AT_WORK}, "nothing beside"


def test_privacy_json_says_what_is_claimed_and_the_number_is_the_ledgers_own(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    privacy = json.loads((folder / "privacy.json").read_text())
    wanted = {"epsilon", "delta", "unit", "adjacency", "accountant", "sampling", "noise", "holds_against", "rounds"}
    assert wanted <= privacy.keys()
    # 3 rounds of 4 among 8 clients: some were asked twice, 2 steps each time
    assert privacy["epsilon"] == pytest.approx(epsilon(NOISE, 0.25, 4, delta=1e-5))
    assert privacy["participations_most"] == 2
    assert privacy["rounds"] == 3
    assert privacy["clients_charged"] == 8
    assert privacy["per_round"] == [row["epsilon_max"] for row in rows(folder)]


def test_a_run_at_client_level_claims_the_client_and_what_its_ledgers_hold(
    tiny_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    given = settings(
        privacy__unit="client", privacy__noise="distributed", privacy__target_epsilon=3.0, local__batch=2,
        secagg__threshold=0.75, runtime__workers=1, runtime__evaluation_dialogues=5, model__context=64,
        privacy__clip_quantile=0.5,
    )  # fmt: skip
    done = here(
        *("--data", tiny_data / "private.jsonl", "--validation", tiny_data / "held_out.jsonl", "--base", tiny_base),
        *("--recipe", PLAIN, "--reference", "--rounds", "2", "--cohort", "8", "--out", tmp_path / "out", *given),
    )
    assert done.returncode == 0, done.stderr
    assert "Each client, with all its dialogues" in done.stdout and "Each dialogue" not in done.stdout
    privacy = json.loads((tmp_path / "out" / "privacy.json").read_text())
    assert (privacy["unit"], privacy["noise"], privacy["adjacency"]) == ("client", "distributed", Adjacency.ZERO_OUT)
    assert 2.9 < privacy["epsilon"] <= 3.0 and privacy["participations_most"] == 2 and privacy["clients_charged"] == 8
    assert (privacy["fewest_survivors"], privacy["most_colluders"], privacy["honest_shares"]) == (6, 1, 5)
    assert privacy["share_std"] * math.sqrt(5) == pytest.approx(privacy["noise_multiplier"] * privacy["rounded_norm"])
    assert privacy["clip_norm"] <= privacy["rounded_norm"] <= 1.02 * privacy["clip_norm"]
    assert "local_steps" not in privacy and "each single client" in privacy["sentence"]
    moved = [row["clip_norm_next"] for row in rows(tmp_path / "out")]
    assert privacy["clip_norm_by_round"] == [privacy["clip_norm"], moved[0]] and len(set(moved)) == 2
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["reference"]["words"] > 0
    books = ledgers(tmp_path / "out").values()
    assert {len(book["entries"]) for book in books} == {2} and len(books) == 8
    assert "each single client" in (tmp_path / "out" / "report.html").read_text()
    assert [row["survivors"] for row in rows(tmp_path / "out")] == [8, 8]


def test_a_run_with_shared_noise_for_single_dialogues_claims_the_dialogue(
    tiny_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    given = settings(
        privacy__noise="distributed", privacy__target_epsilon=3.0, privacy__local_steps=1,
        secagg__threshold=0.75, runtime__workers=1, runtime__evaluation_dialogues=5, model__context=64,
        privacy__expected_batch_size=4.0, ngrams__longest=0,
    )  # fmt: skip
    done = here(
        *("--data", tiny_data / "private.jsonl", "--validation", tiny_data / "held_out.jsonl", "--base", tiny_base),
        *("--rounds", "2", "--cohort", "8", "--out", tmp_path / "out", *given),
    )
    assert done.returncode == 0, done.stderr
    privacy = json.loads((tmp_path / "out" / "privacy.json").read_text())
    assert (privacy["unit"], privacy["noise"], privacy["adjacency"]) == (
        "dialogue",
        "distributed",
        Adjacency.ADD_OR_REMOVE,
    )
    assert 2.9 < privacy["epsilon"] <= 3.0 and privacy["participations_most"] == 2 and privacy["honest_shares"] == 5
    assert privacy["rounded_norm"] == pytest.approx(privacy["clip_norm"] / 4.0, rel=0.02)  # learning rate 1
    assert {book["budget"]["unit"] for book in ledgers(tmp_path / "out").values()} == {"dialogue"}
    assert "each single dialogue" in (tmp_path / "out" / "report.html").read_text()


def test_a_run_whose_updates_are_sent_again_charges_every_sum(tiny_data: Path, tiny_base: Path, tmp_path: Path) -> None:
    given = settings(
        privacy__unit="client", privacy__noise="distributed", privacy__target_epsilon=3.0, local__batch=2,
        secagg__threshold=0.75, runtime__workers=1, runtime__evaluation_dialogues=5, model__context=64,
        federation__bands=2,
    )  # fmt: skip
    done = here(
        *("--data", tiny_data / "private.jsonl", "--validation", tiny_data / "held_out.jsonl", "--base", tiny_base),
        *("--recipe", PLAIN, "--rounds", "3", "--cohort", "4", "--out", tmp_path / "out", *given),
    )
    assert done.returncode == 0, done.stderr
    privacy = json.loads((tmp_path / "out" / "privacy.json").read_text())
    assert len(privacy["coefficients"]) == 2 and 0.3 < privacy["coefficients"][1] < 0.9
    assert (
        privacy["participations_most"] == 3 and 2.0 < privacy["epsilon"] <= 3.0
    )  # begun in rounds 1 and 3, again in 2
    assert "each update is sent in up to 2 rounds and charged in each" in privacy["sampling"]
    assert "in the first round at most 1 of 4, and no fewer than 3" in privacy["holds_against"]
    assert "in up to 2 such sums" in privacy["secure_aggregation"]["holds_against"]
    assert [(row["cohort"], row["survivors"]) for row in rows(tmp_path / "out")] == [(4, 4), (8, 8), (8, 8)]
    checkpoint = RunFolder(tmp_path / "out").latest()
    assert checkpoint is not None and len(checkpoint.state.estimates) == 1
    kept = {row.name for row in stored(tmp_path / "out")}
    assert kept == {"ledger", "charge 0", "charge 1", "charge 2", "finished"}, "no update that is to be sent again"
    assert nothing_opens(tmp_path / "out")


def test_summary_json_compares_before_and_after(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    summary = json.loads((folder / "summary.json").read_text())
    for name in ("before", "after"):
        assert {"bits_per_byte", "perplexity", "top1", "top3"} <= summary[name].keys()
        assert summary[name]["bits_per_byte"] > 0 and 0 <= summary[name]["top1"] <= summary[name]["top3"] <= 1
    compared = summary["comparison"]
    assert (compared["over"], compared["groups"]) == ("dialogues", 10), "of two clients: too few to draw from"
    change = summary["after"]["bits_per_byte"] - summary["before"]["bits_per_byte"]
    assert compared["bits_per_byte"]["difference"] == pytest.approx(change)
    assert not summary["pretraining"]["cut"] and summary["pretraining"]["done"] == summary["pretraining"]["steps"]
    assert summary["before"] != summary["after"]
    bare = json.loads((folder / "without-noise" / "summary.json").read_text())
    assert summary["reference"] == bare["after"] and bare["epsilon"] is None
    assert all(10 < mib < 100_000 for mib in summary["peak_memory_mib"].values()), "MiB, of both"
    assert summary["epsilon"] == json.loads((folder / "privacy.json").read_text())["epsilon"]
    assert summary["delta"] == 1e-5
    assert {"data", "pretrain", "federate", "evaluate"} <= summary["seconds"].keys()
    assert (summary["clients"], summary["rounds"]) == (8, 3)
    assert summary["parameters"] == summary["trainable_parameters"] > 0


def test_metrics_have_one_row_a_round_and_no_client_s_name_or_number(
    finished: tuple[Path, str], tiny_corpus: HelpdeskCorpus
) -> None:
    folder, _ = finished
    found = rows(folder)
    assert [row["round"] for row in found] == [1, 2, 3]
    for row in found:
        assert row["cohort"] == row["survivors"] == 4 and row["dropped"] == {}
        assert row["bytes_up"] > 4 * 4 and row["update_norm"] > 0 and row["seconds"] > 0
        assert math.isfinite(row["bits_per_byte"])
    spent = [row["epsilon_max"] for row in found]
    assert spent == sorted(spent) and found[-1]["epsilon_mean"] <= spent[-1]
    text = (folder / "metrics.jsonl").read_text() + (folder / "summary.json").read_text()
    assert not any(str(dialogue.client_id) in text for dialogue in tiny_corpus.private)
    assert found[-1]["bits_per_byte"] == json.loads((folder / "summary.json").read_text())["after"]["bits_per_byte"]


def test_the_display_names_rounds_clients_epsilon_and_what_was_learned(finished: tuple[Path, str]) -> None:
    _, said = finished
    for line in ("Round 1 of 3", "Round 3 of 3", "4 of 4 clients", "epsilon at most", "bits per byte", "report.html"):
        assert line in said
    assert "s left" in said, "how long it will take, off a terminal too"
    assert "Held-out dialogues" in said and "never trained" not in said, "nobody knows whose a file's dialogues are"
    assert "MiB" in said


def test_the_model_loads_with_plain_transformers_and_as_a_chat_and_differs_from_its_reference(
    finished: tuple[Path, str],
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import chatfed
    from chatfed.model.checkpoint import weights_digest

    folder, _ = finished
    models = {name: AutoModelForCausalLM.from_pretrained(folder / name) for name in ("model", "reference")}
    assert weights_digest(models["model"]) != weights_digest(models["reference"])
    assert AutoTokenizer.from_pretrained(folder / "model").chat_template
    settings_ = chatfed.Generation(max_new_tokens=3, seed=1)
    said = chatfed.load_chat(folder / "model").reply([chatfed.Turn("user", "hello")], settings_)
    assert isinstance(said, str)
    card = (folder / "model" / "README.md").read_text()
    assert "epsilon" in card and "simulation" in card and "never left" not in card
    assert sentence(json.loads((folder / "summary.json").read_text())) in card


def test_the_published_model_is_the_last_checkpoint_bit_for_bit(finished: tuple[Path, str]) -> None:
    from chatfed.model.parameters import flatten, set_trainable
    from chatfed.model.transformer import load_model

    folder, _ = finished
    stored = RunFolder(folder).latest()
    assert stored is not None
    model, _ = load_model(folder / "model")
    set_trainable(model, ["all"])
    assert flatten(model).tobytes() == stored.state.weights.tobytes()


def test_a_report_that_cannot_be_written_stops_the_run_which_can_go_on(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()  # what a full disk does, in the same call
    with pytest.raises(DiskError, match="chatfed resume"):
        write_page(RunFolder(tmp_path), {}, {}, [])


def test_the_report_stands_alone(finished: tuple[Path, str]) -> None:
    page = (finished[0] / "report.html").read_text()
    assert "<svg" in page and "<script src" not in page and "http://" not in page.replace("http://www.w3.org", "")


def test_the_recipe_in_the_folder_is_the_one_that_ran(finished: tuple[Path, str]) -> None:
    recipe = load_recipe(finished[0] / "recipe.toml")
    assert (recipe.federation.rounds, recipe.federation.cohort, recipe.privacy.local_steps) == (3, 4, 2)


def test_resuming_a_finished_run_changes_no_ledger_and_no_figure(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    books = ledgers_below(folder)
    assert [len(book) for book in books.values()] == [8, 0], "and the run without noise has none"
    metrics = (folder / "metrics.jsonl").read_bytes()
    before = json.loads((folder / "summary.json").read_text())
    for half_written in (".report.html-x", "state/.server.npz-x", "without-noise/state/.server.npz-x"):
        (folder / half_written).write_text("left by a killed process")
    done = here(folder, "--quiet", command="resume")
    assert done.returncode == 0 and done.stdout == "" and done.stderr == ""
    assert ledgers_below(folder) == books
    assert (folder / "metrics.jsonl").read_bytes() == metrics
    after = json.loads((folder / "summary.json").read_text())
    for key in ("before", "after", "reference", "epsilon", "rounds"):
        assert after[key] == before[key]
    assert [path for path in folder.rglob(".*") if path.is_file()] == []


def test_a_run_stopped_between_sum_and_evaluation_goes_on_with_that_round_and_counts_it_once(
    finished: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished[0], tmp_path / "out")
    folder, counted = RunFolder(tmp_path / "out"), list[tuple[int, int]]()
    stored = folder.latest()
    assert stored is not None
    measured = dict.fromkeys(("bits_per_byte", "perplexity", "top1", "top3"))
    folder.checkpoint(stored.state, stored.seconds, [*stored.metrics[:-1], stored.metrics[-1] | measured], stored.base)
    rounds = Display.rounds

    def counting(self: Display, total: int, finished: int) -> AbstractContextManager[RoundBar]:
        counted.append((total, finished))
        return rounds(self, total, finished)

    monkeypatch.setattr(Display, "rounds", counting)
    done = here(folder.path, command="resume")
    assert done.returncode == 0, done.stderr
    assert counted[0] == (3, 2), "rounds in all, and finished ones"
    assert "Round 3 of 3" in done.stdout
    assert rows(folder.path) == rows(finished[0])
