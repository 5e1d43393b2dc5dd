"""README and docs keep their word: Python runs, options exist, examples can be read, links lead somewhere."""

from __future__ import annotations

import doctest
import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.commands import CHATFED, command_of, options_of
from training.plan.cohorts import following
from training.plan.recipe import Recipe, load_recipe
from training.run import figures

ROOT = Path(__file__).parent.parent
BESIDE = ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY", "findings/README")
PAGES = sorted([*(ROOT / f"{name}.md" for name in BESIDE), *(ROOT / "docs").glob("*.md")])
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
RUNS = {"train-federated": "train", "resume": "resume", "chat": "serve", "probe": "probe", "audit": "audit"}
"""The command behind each target of the Makefile that runs one."""
ASKED = "docs/api-http.md"  # what it asks a server is asked by tests/serving/api/test_api_docs.py
GONE = {"CHANGELOG.md": {"--resume"}}  # options of earlier versions
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    kind: str
    text: str


def blocks(kind: str, page: str = "") -> list[Block]:
    found: list[Block] = []
    for path in PAGES:
        content, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
        for match in FENCE.finditer(content):
            if match[1] == kind and page in ("", name):
                line = content.count("\n", 0, match.start(2)) + 1
                found.append(Block(name, line, kind, match[2]))
    return found


def named(found: list[Block]) -> list[object]:
    return [pytest.param(block, id=f"{block.page}:{block.line}") for block in found]


def commands() -> list[tuple[str, str]]:
    return [
        (f"{block.page}:{block.line}", line.strip())
        for block in blocks("sh")
        for line in block.text.replace("\\\n", " ").splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]


@pytest.fixture
def trained(tiny_base: Path, tmp_path: Path) -> Path:
    """A folder with runs/default as the README's Python expects it, with a tiny untrained model."""
    for name in ("model", "reference"):
        shutil.copytree(tiny_base, tmp_path / "runs" / "default" / name)
    return tmp_path


# Python


def test_the_readmes_python_runs_from_top_to_bottom(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(trained)
    plain = [block for block in blocks("python", "README.md") if ">>>" not in block.text]
    assert len(plain) >= 3
    space: dict[str, object] = {}
    for block in plain:
        exec(compile("\n" * block.line + block.text, "README.md", "exec"), space)  # noqa: S102, the page's own code
        assert capsys.readouterr().out.strip(), f"README.md:{block.line} prints nothing"


@pytest.mark.parametrize("page", [name for name in NAMES if any(">>>" in b.text for b in blocks("python", name))])
def test_every_number_in_a_doctest_is_the_one_that_comes_out(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = "\n".join(block.text for block in blocks("python", page) if ">>>" in block.text)
    test = doctest.DocTestParser().get_doctest(text, {}, page, page, 0)
    told: list[str] = []
    assert test.examples
    doctest.DocTestRunner(verbose=False).run(test, out=told.append)
    assert told == [], "".join(told)


def test_python_outside_the_readme_is_doctest_only() -> None:
    assert [
        f"{b.page}:{b.line}" for b in blocks("python") if b.page not in ("README.md", ASKED) and ">>>" not in b.text
    ] == []


# Commands


@cache
def help_of(module: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    return re.sub(r"\x1b\[[0-9;]*m", "", ran.stdout)


def options_in_help(module: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", help_of(module)))


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize(("place", "line"), commands())
def test_every_command_names_what_exists(place: str, line: str) -> None:
    program, *rest = shlex.split(line)
    if program == "make":
        check_make(rest)
    elif program in ("python", ".venv/bin/python"):
        assert rest[0] == "-m", f"{place}: {line}"
        check_module(rest[1], rest[2:])
    elif program == "chatfed":
        check_command(rest)
    elif not place.startswith(f"{ASKED}:"):
        raise AssertionError(f"{place}: no test knows how to check {line!r}")


def check_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            assert word in targets(), f"the Makefile has no target {word}"
            continue
        assert f"$({name})" in makefile, f"the Makefile reads no {name}"
        if name == "ARGS":
            check_command([RUNS[words[0]], *shlex.split(value)])


def check_module(module: str, words: list[str]) -> None:
    assert (ROOT / (module.replace(".", "/") + ".py")).is_file() or (ROOT / module.replace(".", "/")).is_dir()
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in options_in_help(module), f"python -m {module} has no {word}"


def check_command(words: list[str]) -> None:
    """The words after `chatfed`: a command that there is, with options that it has and settings that a recipe has."""
    command, rest = command_of(words)
    for index, word in enumerate(rest):
        if word.startswith("--"):
            assert word.partition("=")[0] in options_of(command), f"chatfed {shlex.join(words)}: there is no {word}"
        if word == "--set":
            load_recipe(None, [rest[index + 1]])


@pytest.mark.parametrize("page", NAMES)
def test_every_option_and_target_named_in_the_text_exists(page: str) -> None:
    """Inline code: `--option`, `make target`, `section.key`."""
    text = FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    code = re.findall(r"`([^`\n]+)`", text)
    known = options_of(CHATFED) | GONE.get(page, set())
    assert [each for each in code if re.fullmatch(r"--[a-z][a-z-]*", each) and each not in known] == []
    asked = {each.split()[1] for each in code if re.fullmatch(r"make [a-z-]+( .*)?", each)}
    assert asked <= targets()
    for each in code:
        if each.startswith("--set ") and each != "--set section.key=value":
            check_command(["train", *shlex.split(each)])
        if each.startswith("chatfed ") and page != "docs/protocol.md":  # which has labels of derived keys
            check_command(shlex.split(each)[1:])
    recipe = Recipe()
    keys = [each.split(".") for each in code if re.fullmatch(r"[a-z_]+\.(?!(?:jsonl?|html|sig)$)[a-z_]+", each)]
    assert [key for key in keys if hasattr(recipe, key[0]) and not hasattr(getattr(recipe, key[0]), key[1])] == []


# Examples of files


@pytest.mark.parametrize("block", named(blocks("toml")))
def test_an_example_recipe_is_a_recipe(block: Block, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(block.text)
    assert load_recipe(tmp_path / "mine.toml") != load_recipe()


@pytest.mark.parametrize("block", named([b for kind in ("jsonl", "csv", "txt") for b in blocks(kind)]))
def test_an_example_of_data_is_read_as_two_dialogues(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    from chatfed.data.dialogue import read_dialogues

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    source = tmp_path / f"mine.{block.kind}"
    source.write_text(block.text)
    column = "branch" if '"branch"' in block.text else "client_id"
    table = read_dialogues(str(source), client_column=column)
    assert [[turn.role for turn in dialogue.messages] for dialogue in table] == [["user", "assistant"]] * 2
    assert table.client_ids == (None if block.kind == "txt" else ["north", "south"])


# Links


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", NAMES)
def test_every_link_points_to_something_that_exists(page: str) -> None:
    text = FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        if not path.exists():
            broken.append(target)
        elif anchor:
            headings = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
            broken += [target] if anchor not in map(slug, headings) else []
    assert broken == []


def test_every_page_of_the_docs_can_be_reached_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if name.startswith("docs/") and f"({name})" not in readme] == []


# Figures


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The files of a finished run that the table is made of."""
    score = {"bits_per_byte": 2.5, "perplexity": 41.5, "top1": 0.25, "top3": 0.4, "words": 1000, "bytes": 4000}
    summary = {
        "before": score,
        "after": {**score, "bits_per_byte": 2.4, "perplexity": 33.26},
        "comparison": {"verdict": "did not learn", "over": "clients", "groups": 30},
        "reference": None,
        "clients": 400,
        "parameters": 2_500_000,
        "trainable_parameters": 1_500,
        "seconds": {"pretrain": 100.0, "federate": 31.0, "total": 131.0},
    }
    privacy = {
        "epsilon": 7.9812,
        "delta": 1e-5,
        "unit": "dialogue",
        "adjacency": "add or remove one",
        "accountant": "PRV",
        "noise": "local",
        "rounds": 10,
    }
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "privacy.json").write_text(json.dumps(privacy))
    (tmp_path / "recipe.toml").write_text(load_recipe().to_toml())
    return tmp_path


def test_the_table_of_figures_holds_the_runs_numbers_and_replaces_the_old_table(run: Path) -> None:
    page = run / "README.md"
    page.write_text(f"before\n\n{figures.START}\nold\n{figures.END}\n\nafter\n")
    for _ in range(2):
        assert figures.main([str(run), "--readme", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "| after private training | 2.400 | 25.0% | 40.0% | 33.26 |" in text and "without noise" not in text
    assert "The run did NOT learn: 2.500 → 2.400 bits per byte; next word right 25.0% → 25.0%" in text
    assert "epsilon 7.99 at delta 1e-05 for each dialogue" in text, "a claim is rounded up"
    assert "1,500 of 2,500,000 parameters" in text and "2 min 11 s" in text and "cores of" in text


def test_the_table_names_the_run_without_noise_when_there_was_one(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    summary["reference"] = {"bits_per_byte": 1.25, "perplexity": None, "top1": 0.5, "top3": 0.6}
    (run / "summary.json").write_text(json.dumps(summary))
    assert "| the same run without noise (no privacy) | 1.250 | 50.0% | 60.0% | – |" in list(figures.table(run))


def test_the_table_says_what_could_be_learned_when_a_ceiling_was_made(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    share = {"learnable": 8.4, "learned": 4.8, "share": 0.571, "low": 0.53, "high": 0.604}
    scores = {"bits_per_byte": 1.25, "perplexity": 7.4, "top1": 0.6, "top3": 0.7}
    summary["ceiling"] = {**scores, "gain": {"bits_a_word": share}}
    (run / "summary.json").write_text(json.dumps(summary))
    lines = list(figures.table(run))
    assert [line for line in lines if "what could be learned | 1.250 | 60.0% | 70.0% | 7.40 |" in line]
    assert [line for line in lines if "Its change is 57% of the 8.40 bits a word that could be learned" in line]


def test_figures_say_in_one_line_what_is_missing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "other.md").write_text("no marks")
    assert figures.main([str(run), "--readme", str(run / "other.md")]) == 2
    assert figures.START in capsys.readouterr().err and (run / "other.md").read_text() == "no marks"
    assert figures.main([str(run / "gone")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_readmes_figures_are_of_the_default_recipe() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = text.partition(figures.START)[2].partition(figures.END)[0]
    digest = following(load_recipe(), 400).digest().hex()[:16]  # as the run folder has it: the cohort is settled there
    assert f"Recipe `{digest}`" in shown, "run chatfed train and then python -m training.run.figures runs/default"
