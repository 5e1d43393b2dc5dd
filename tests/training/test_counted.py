"""A run that counts n-grams before its first round: what it charges, claims and keeps, and on again after a crash."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import training.federated
import training.run.counted
from chatfed.privacy.accounting import PLD, Mechanism, compose
from tests.training.processes import PLAIN, here, ledgers, lose, one_line, rows, settings
from training.durable import DiskError
from training.engines.simulation import Simulation
from training.parties.session import Step
from training.plan.plan import Plan
from training.plan.settings import RecipeError
from training.run.run_folder import RunFolder

SMALL = settings(
    ngrams__longest=3, ngrams__cells=3000, ngrams__texts=8, ngrams__epochs=0.5, ngrams__share=0.6,
    secagg__threshold=0.75, runtime__workers=1, runtime__evaluation_dialogues=5, model__context=32,
    privacy__expected_batch_size=2.0, privacy__sampling_rate=0.05, privacy__target_epsilon=5.0,
)  # fmt: skip


class Killed(BaseException):
    """Stands for SIGKILL: nothing that a program would do about an error is done."""


def train(
    data: Path, base: Path, out: Path, *more: object, noise: str = "distributed"
) -> subprocess.CompletedProcess[str]:
    return here(
        *("--data", data / "private.jsonl", "--validation", data / "held_out.jsonl", "--base", base),
        *("--recipe", PLAIN, "--rounds", "1", "--cohort", "4", "--out", out, *SMALL),
        *settings(privacy__noise=f'"{noise}"'),
        *more,
    )


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def entries(folder: Path) -> dict[str, list[Any]]:
    """All charges, by client."""
    return {client: book["entries"] for client, book in ledgers(folder).items()}


@pytest.fixture(scope="module")
def finished(tiny_data: Path, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run with shared noise, and beside it the run without noise and the ceiling."""
    out = tmp_path_factory.mktemp("counted") / "out"
    done = train(tiny_data, tiny_base, out, "--reference", "--ceiling-passes", "0.1")
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_all_clients_are_charged_for_the_count_before_the_rounds(finished: tuple[Path, str]) -> None:
    folder, said = finished
    books = entries(folder)
    assert sorted(map(len, books.values())) == [1] * 4 + [2] * 4  # a round asked four of eight
    counted = {book[0]["mechanism"]["dimension"] for book in books.values()}
    assert counted == {3000} and {book[0]["mechanism"]["sampling_rate"] for book in books.values()} == {1.0}
    assert "n-grams that stand out of the noise, by tokens:" in said and "first one count" in said


def test_privacy_json_says_what_the_count_was_accounted_with(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    privacy, counted = read(folder / "privacy.json"), read(folder / "counted.json")
    count = privacy["count"]
    assert (count["clients"], count["cells"], count["longest"], count["sampling_rate"]) == (8, 3000, 3, 1.0)
    assert (count["honest_shares"], count["fewest_survivors"], count["most_colluders"]) == (5, 6, 1)
    assert count["share_std"] * 5**0.5 == pytest.approx(count["noise_multiplier"] * count["rounded_norm"])
    assert 2.98 < count["epsilon"] == counted["epsilon_max"] <= 3.0 < privacy["epsilon"] <= 5.0
    assert count["secure_aggregation"]["share_threshold"] == 6
    assert "in the count of n-grams at most 1 of 8, and no fewer than 6" in privacy["sentence"]
    assert privacy["per_round"] == [privacy["epsilon"]] and privacy["clients_charged"] == 8
    assert (counted["survivors"], len(counted["found"])) == (8, 3)


def test_what_is_compared_with_a_counted_run_begins_with_the_public_base(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    summary, bare = read(folder / "summary.json"), folder / "without-noise"
    assert summary["before"] == read(bare / "summary.json")["before"]
    assert read(bare / "privacy.json")["epsilon"] is None and read(bare / "privacy.json")["count"]["epsilon"] is None
    assert read(bare / "counted.json")["epsilon_max"] is None and entries(bare) == {}
    assert summary["ceiling"]["words"] == summary["reference"]["words"] == summary["before"]["words"]
    assert "imagined with the counts" in (folder / "model" / "README.md").read_text()


def test_with_noise_of_its_own_each_client_is_charged_the_count_beside_its_steps(
    tiny_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    done = train(tiny_data, tiny_base, tmp_path / "out", noise="local")
    assert done.returncode == 0, done.stderr
    privacy = read(tmp_path / "out" / "privacy.json")
    charges = [Mechanism(privacy["count"]["noise_multiplier"], 1.0, 1), Mechanism(privacy["noise_multiplier"], 0.05, 1)]
    assert privacy["epsilon"] == pytest.approx(compose(charges, delta=1e-5)) and privacy["accountant"] == PLD
    assert read(tmp_path / "out" / "counted.json")["epsilon_max"] == pytest.approx(compose(charges[:1], delta=1e-5))


def test_killed_at_every_step_of_the_count_it_goes_on_with_the_same_survivors_and_charges_nothing_twice(
    tiny_data: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, stage, summed = tmp_path / "out", training.run.counted, training.run.counted._sum

    def killed(*_: object, **__: object) -> None:
        raise Killed

    def one_silent(prepared: Any, count: Any, session: Any, clients: Simulation, digest: bytes) -> Any:
        clients.dropouts = {Step.SHARES: frozenset(prepared.clients[-1:])}
        return summed(prepared, count, session, clients, digest)

    def settled_and_killed(self: RunFolder, round_index: int, survivors: Any) -> None:
        settle(self, round_index, survivors)
        raise Killed

    settle = RunFolder.settle
    with monkeypatch.context() as patch:  # the survivors are chosen, and nobody has answered for them
        patch.setattr(stage, "_sum", one_silent)
        patch.setattr(RunFolder, "settle", settled_and_killed)
        with pytest.raises(Killed):
            train(tiny_data, tiny_base, out, *settings(secagg__identities='"roster"'))
    books = entries(out)
    assert [len(book) for book in books.values()] == [1] * 8
    survivors = RunFolder(out).settled(stage.BEFORE)
    assert survivors is not None and len(survivors) == 7
    for place, name in ((stage, "_learn"), (stage, "commit"), (training.federated.Rounds, "run")):
        with monkeypatch.context() as patch:  # with the sum; with the base that learned it; with nothing left to ask
            patch.setattr(place, name, killed)
            with pytest.raises(Killed):
                here(out, command="resume")
        assert entries(out) == books and RunFolder(out).latest() is None
        assert RunFolder(out).settled(stage.BEFORE) == survivors and read(out / "counted.json")["survivors"] == 7
    done = here(out, command="resume")
    assert done.returncode == 0, done.stderr
    assert all(book[:1] == books[client] for client, book in entries(out).items())
    assert sorted(map(len, entries(out).values())) == [1] * 4 + [2] * 4
    assert read(out / "privacy.json")["count"]["epsilon"] == read(out / "counted.json")["epsilon_max"]
    assert [row["survivors"] for row in rows(out)] == [4]


def silent(several: int) -> Callable[..., Any]:
    summed = training.run.counted._sum

    def sum_without(prepared: Any, count: Any, session: Any, clients: Simulation, digest: bytes) -> Any:
        clients.dropouts = {Step.SHARES: frozenset(prepared.clients[:several])}
        return summed(prepared, count, session, clients, digest)

    return sum_without


def test_a_count_that_ended_without_a_sum_keeps_its_ledgers_and_goes_on(
    tiny_data: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, stage = tmp_path / "out", training.run.counted

    def no_room(*_: object) -> None:
        raise DiskError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(stage, "_sum", silent(3))
        one_line(train(tiny_data, tiny_base, out), "The count of n-grams ended without a sum", f"chatfed resume {out}")
    books = entries(out)
    assert [len(book) for book in books.values()] == [1] * 8
    with monkeypatch.context() as patch:
        patch.setattr(stage, "write_imagined", no_room)
        one_line(here(out, command="resume"), "no room")
    assert entries(out) == books
    lose(out, lost := next(iter(books)))
    one_line(here(out, command="resume"), "ledgers hold too few")
    assert {**books, lost: []} == {lost: [], **entries(out)}


def test_rounds_that_cannot_be_paid_are_found_before_anything_is_counted(
    tiny_data: Path, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(plan: Plan, dimension: int) -> None:
        raise RecipeError("{privacy.delta}: over its budget")

    monkeypatch.setattr(Plan, "refuse_unaffordable", refuse)
    one_line(train(tiny_data, tiny_base, tmp_path / "out"), "over its budget")
    assert not (tmp_path / "out").exists()  # which stays where a client was asked for anything


def test_adapters_on_what_was_counted_name_that_base_and_say_what_the_run_measured(
    tiny_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    from chatfed import load_chat

    lora = settings(model__lora_rank=2, model__lora_targets='["q_proj"]')
    done = train(tiny_data, tiny_base, tmp_path / "out", *lora, noise="local")
    assert done.returncode == 0, done.stderr
    named = read(tmp_path / "out" / "model" / "adapter_config.json")["base_model_name_or_path"]
    assert (
        Path(named) == tmp_path / "out" / "counted"
        and "differential privacy" in (Path(named) / "README.md").read_text()
    )
    assert load_chat(tmp_path / "out").stream is not None
