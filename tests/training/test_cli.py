"""What a person gets wrong: one line that names it, an exit code other than 0, no traceback, nothing half-written."""

from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.training.processes import ROOT, here, one_line, run, settings, start, wait_for
from training.base.tokens import open_tokens
from training.cli import Given
from training.plan.recipe import DEFAULT_RECIPE, DataSection, Recipe
from training.run.run_folder import RunFolder, sole_use


def dialogue(client: str, number: int = 0) -> str:
    messages = [
        {"role": "user", "content": f"my printer number {number} prints no page at all today"},
        {"role": "assistant", "content": "please switch it off and on again and then try once more"},
    ]
    return json.dumps({"client_id": client, "messages": messages})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(dialogue(f"c{i % 5}", i) for i in range(20)) + "\n")
    return path


def given(data: Path, tmp_path: Path, base: Path) -> list[str | Path]:
    cache = settings(runtime__cache=f'"{tmp_path / "cache"}"', runtime__workers=1)
    options = settings(privacy__noise_multiplier=2.0, runtime__evaluation_dialogues=3, ngrams__longest=0)
    places = ("--data", data, "--base", base, "--out", tmp_path / "out", "--cohort", "3", "--rounds", "1")
    return [*places, *cache, *options]


def test_help_shows_examples_and_answers_without_importing_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "chatfed", "train", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert "chatfed train --data mine.jsonl" in done.stdout and "--epsilon" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    heavy = {"torch", "transformers", "datasets", "opacus", "gradio", "matplotlib"}
    assert imported & heavy == set()
    assert "typer" in imported  # the list was read at all


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[privacy]\ntarget_epsilom = 4\n", ["recipe.toml", "privacy.target_epsilom", "target_epsilon"]),
        ("[federation]\nrounds = 'ten'\n", ["recipe.toml", "federation.rounds"]),
        ("[federation\nrounds = 3\n", ["recipe.toml", "line 1"]),
    ],
    ids=["unknown key", "wrong type", "not TOML"],
)
def test_a_wrong_recipe(tmp_path: Path, text: str, parts: list[str]) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(text)
    one_line(here("--recipe", recipe, "--out", tmp_path / "out"), *parts, code=2)
    assert not (tmp_path / "out").exists()


def test_wrong_places(tmp_path: Path, data: Path) -> None:
    """A folder that is no run, one that is in use, a recipe and a file that are not there, settings beside `resume`."""
    used = tmp_path / "used"
    used.mkdir()
    (used / "notes.txt").write_text("mine")
    one_line(run(tmp_path / "nothing", command="resume"), "nothing", "no run to resume", code=2)
    one_line(here(used, command="resume"), "used", "no run to resume", code=2)
    one_line(here("--data", data, "--out", used), "used", "already holds something", "--replace", code=2)
    one_line(here(used, "--rounds", "3", command="resume"), "no such option: --rounds", code=2)
    one_line(here("--recipe", tmp_path / "no.toml"), "no.toml", code=2)
    assert not (tmp_path / ".nothing.lock").exists()
    assert [path.name for path in used.iterdir()] == ["notes.txt"]


def truncated(path: Path) -> Path:
    whole = gzip.compress("\n".join(dialogue(f"c{i % 5}", i) for i in range(2000)).encode())
    path.write_bytes(whole[: len(whole) // 2])
    return path


def wrong_line(path: Path) -> Path:
    path.write_text("\n".join([dialogue("a"), dialogue("b"), '{"messages": [', dialogue("c")]) + "\n")
    return path


def empty(path: Path) -> Path:
    path.write_text("")
    return path


@pytest.mark.parametrize(
    ("make", "name", "parts"),
    [
        (truncated, "cut.jsonl.gz", ["cut.jsonl.gz", "cut short"]),
        (wrong_line, "broken.jsonl", ["broken.jsonl", "line 3", "not JSON"]),
        (empty, "empty.jsonl", ["empty.jsonl", "no dialogue"]),
        (lambda path: path, "missing.jsonl", ["missing.jsonl", "There is no data file"]),
    ],
    ids=["truncated gz", "not JSON", "empty", "missing"],
)
def test_wrong_data_leaves_no_run_behind_and_puts_a_replaced_one_back(
    tmp_path: Path, tiny_base: Path, make: Callable[[Path], Path], name: str, parts: list[str]
) -> None:
    earlier = tmp_path / "out"
    earlier.mkdir()
    (earlier / "summary.json").write_text("{}")
    source = make(tmp_path / name)
    how = run if make is truncated else here
    one_line(how(*given(source, tmp_path, tiny_base), "--replace"), *parts, code=2)
    assert [path.name for path in earlier.iterdir()] == ["summary.json"]
    assert [path for path in tmp_path.iterdir() if path.name.startswith("out")] == [earlier]


def unexpected(*_: object) -> None:
    raise AssertionError("this comes too late")


def test_settings_that_contradict_the_data_leave_no_run_behind(
    tmp_path: Path, tiny_base: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = given(data, tmp_path, tiny_base)
    one_line(here(*options, "--cohort", "400"), "--cohort is 400", code=2)
    one_line(here(*given(data, tmp_path, tmp_path)), "config.json", str(tmp_path), code=2)
    one_line(here(*options, "--validation", data), "--validation", "same file", code=2)
    monkeypatch.setattr("training.run.prepared._write_tables", unexpected)  # and so does pre-training, before it
    one_line(here(*options, *settings(runtime__device="cuda:99")), "runtime.device", "cuda:99", code=2)
    one_line(here(*options, *settings(privacy__noise_multiplier=0.3)), "noise_multiplier = 0.3", "of 8", code=2)
    assert not (tmp_path / "out").exists()


NOWHERE = Recipe(data=DataSection(source="missing.jsonl"))  # a run of it ends at once


@pytest.mark.parametrize("command", ["resume", "train"])
def test_a_folder_where_another_process_is_at_work_is_neither_moved_nor_resumed_nor_removed(
    tmp_path: Path, command: str
) -> None:
    folder = RunFolder(tmp_path / "out")
    folder.begin(NOWHERE)
    before = sorted(tmp_path.rglob("*"))
    options = [] if command == "resume" else ["--data", "missing.jsonl", "--replace", "--out"]
    with sole_use(folder.path):
        one_line(here(*options, folder.path, command=command), "Another process is at work", str(folder.path), code=2)
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name != ".out.lock"] == before


def test_a_recipe_edited_after_the_start_is_not_resumed_and_what_changes_speed_only_is(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out")
    begun = folder.begin(NOWHERE)
    path, text = folder.path / "recipe.toml", NOWHERE.to_toml()
    path.write_text(text.replace("clip_norm = 1.0", "clip_norm = 9.0"))
    one_line(here(folder.path, command="resume"), str(path), "not the recipe", code=2)
    path.write_text(text.replace("workers = 2", "workers = 1"))
    assert folder.begun().run == begun.run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A tmpfs of 8 MB where this process may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_stops_the_run_with_one_line_and_what_was_there_can_go_on(
    tmp_path: Path, tiny_base: Path, data: Path, small_disk: Path | None
) -> None:
    """Beside it: clients with one dialogue take part, and bad lines that may be skipped are counted."""
    with data.open("a") as file:
        file.writelines(dialogue(f"lonely{i}", 100 + i) + "\n" for i in range(3))
        file.write("nonsense\n")
    options = [*given(data, tmp_path, tiny_base), "--skip-bad-lines", "--cohort", "7"]
    if small_disk is None:  # no right to mount: files may not grow instead, which fails in the same calls
        limit = (40_000, 40_000)
        done = run(*options, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
        one_line(done, "chatfed resume", code=1)
        folder, said = tmp_path / "out", done.stdout
    else:
        folder = small_disk / "out"
        options[options.index("--out") + 1] = folder
        process = start(*options)
        assert wait_for((folder / "state" / "held-out").exists, 120)
        fill(small_disk / "ballast")
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 1, said
        assert "Traceback" not in said
        last = said.strip().splitlines()[-1]
        assert "No space left" in last and "chatfed resume" in last
    assert not (folder / "summary.json").exists() and not (folder / "model").exists()
    assert [path for path in folder.rglob(".*") if path.is_file()] == []
    (tmp_path / "disk" / "ballast").unlink(missing_ok=True)
    done = here(folder, command="resume")
    assert done.returncode == 0, done.stderr
    assert "Skipped 1 bad line" in said and "line 24" in said
    owned = open_tokens(folder / "state" / "private").clients
    assert len(owned) == 7 and sum(len(mine) == 1 for mine in owned.values()) >= 2
    assert json.loads((folder / "summary.json").read_text())["rounds"] == 1
    assert json.loads((folder / "metrics.jsonl").read_text())["survivors"] == 7


def fill(path: Path) -> None:
    with open(path, "wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(os.urandom(size)):
                    pass
            except OSError:
                continue


def test_a_base_by_name_brings_its_own_recipe_unless_another_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"model.base": "smollm2"}

    def read(recipe: Path | None = None, quick: bool = False) -> Recipe:
        return Given(recipe, quick, options, []).read()[0]

    own = read()
    assert (own.model.base, own.ngrams.layers, own.runtime.out) == ("smollm2", 8, "runs/smollm2")
    assert read(quick=True).ngrams.layers == 0 and read(DEFAULT_RECIPE).ngrams.layers == 0
    (tmp_path / "smollm2").mkdir()  # a folder of that name is meant before the name
    assert read().ngrams.layers == 0 and read().model.base == "smollm2"
