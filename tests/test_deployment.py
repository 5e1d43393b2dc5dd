"""docs/deployment.md is followed by three organisations: each block in its order, by real processes, on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chatfed.command_line import GONE, WRONG
from tests.commands import command_of, options_of
from tests.test_wheel import build
from tests.training.engines.flower_line import flower_python
from training.parties.certificates import check_certificate
from training.plan.federation import read_federation

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
TUTORIAL = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8").partition("\n## One machine\n")[0]
BLOCK = re.compile(r"^```(sh|bash|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FIRST, LATER, HUB = ("north", "south", "east"), "west", "coordinator"
SMALLER = "--set data.clients=4 --set pretrain.max_tokens=20000 --set model.vocabulary=400"
WITHIN = 400.0  # seconds for one command; each takes a few where the machine is idle


@dataclass(frozen=True)
class Block:
    """Commands, or a file, and at whose place they are for."""

    kind: str
    where: str
    text: str


def blocks() -> Iterator[Block]:
    for kind, text in BLOCK.findall(TUTORIAL):
        if kind == "toml":
            yield Block(kind, HUB, text)
            continue
        head, _, rest = text.partition("\n")
        assert head.startswith("# at "), f"a block says in its first line where it is for: {text}"
        yield Block(kind, head.removeprefix("# at ").partition(", ")[0].removeprefix("the "), rest)


class Lasting:
    """A process of `chatfed join` or `chatfed coordinate`, and what it says."""

    def __init__(self, command: str, folder: Path, environment: dict[str, str]) -> None:
        self.said = folder / f"said-{time.monotonic_ns()}"
        with self.said.open("wb") as file:
            self.process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(b"y\n")
            self.process.stdin.close()

    def until(self, words: str) -> None:
        end = time.monotonic() + WITHIN
        while words not in (said := self.said.read_text(encoding="utf-8")):
            assert self.process.poll() is None and time.monotonic() < end, f"{words!r} was not said: {said}"
            time.sleep(0.1)

    def end(self, how: int = 0) -> int:
        if how and self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(f"did not end: {self.said.read_text(encoding='utf-8')}")


@dataclass
class Organisations:
    """A folder for each party, the only one that it sees, and what is sent from one to the other."""

    folder: Path
    wheel: Path
    members: list[str] = field(default_factory=lambda: list(FIRST))
    running: dict[str, Lasting] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        for name in (HUB, *FIRST, LATER):
            (self.folder / name).mkdir()
            shutil.copy(self.wheel, self.folder / name)

    def at(self, where: str) -> list[str]:
        return {"each party": [HUB, *self.members], "each member": self.members}.get(where, [where])

    def environment(self, name: str) -> dict[str, str]:
        """The venv's command first in the path. pip takes the wheel that lies there, and nothing from anywhere else."""
        home = self.folder / name
        path = f"{home / 'chatfed-venv' / 'bin'}:{os.environ['PATH']}"
        ours = {"PATH": path, "HOME": str(home), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        return {**os.environ, **ours, "PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def post(self) -> None:
        """What people send each other: lines to the coordinator, what it hands out to the members."""
        hub = self.folder / HUB
        for name in (*FIRST, LATER):
            home = self.folder / name
            for line in home.glob("*.line"):
                shutil.copy(line, hub)
            if (hub / "fed.tgz").exists() and name in self.members:
                shutil.copy(hub / "fed.tgz", home)
            if (home / "fed").exists():
                shutil.copy(hub / "fed" / "FEDERATION.toml", home / "fed")
            elif name == LATER and (hub / "fed").exists():
                shutil.copytree(hub / "fed", home / "fed")

    def do(self, block: Block) -> None:
        for name in self.at(block.where):
            self.post()
            if block.kind == "toml":
                (self.folder / name / "houses.toml").write_text(block.text, encoding="utf-8")
            elif block.text.startswith(("chatfed join", "chatfed coordinate")):
                self.begin(name, block.text)
            else:
                self.run(name, block.text)

    def run(self, name: str, text: str) -> None:
        if "python3 -m venv" in text and name != HUB:  # one is as good as five
            text = text.replace("python3 -m venv chatfed-venv", f"ln -s ../{HUB}/chatfed-venv chatfed-venv")
            text = re.sub(r"^\S+/pip install .*\n", "", text, flags=re.MULTILINE)
        if name == LATER and not (self.folder / name / "chatfed-venv").exists():  # has installed as in step 1
            (self.folder / name / "chatfed-venv").symlink_to(self.folder / HUB / "chatfed-venv")
        if name in FIRST:
            text = text.replace(FIRST[0], name)
        text = text.replace("fed.example:9443", self.address)
        text = re.sub(r"(--recipe houses\.toml)$", rf"\1 {SMALLER}", text, flags=re.MULTILINE)
        done = subprocess.run(
            ["bash", "-euc", text],
            cwd=self.folder / name,
            env=self.environment(name),
            capture_output=True,
            text=True,
            timeout=2 * WITHIN,
        )
        assert done.returncode == 0, f"{name}: {text}\n{done.stdout}{done.stderr}"
        if "python3 -m venv" in text:
            self.borrow(self.folder / name / "chatfed-venv")

    def borrow(self, environment: Path) -> None:
        """Everything but chatfed, from the environment that has Flower."""
        code = "import sys; print('\\n'.join(p for p in sys.path if p.endswith('site-packages')))"
        paths = subprocess.run([flower_python(), "-c", code], capture_output=True, text=True, check=True, cwd="/")
        (site,) = environment.glob("lib/python*/site-packages")
        (site / "borrowed.pth").write_text(paths.stdout)

    def begin(self, name: str, command: str) -> None:
        if name in self.running:
            assert self.running[name].end(signal.SIGINT if name == HUB else signal.SIGTERM) in (0, 130)
        self.running[name] = Lasting(command.strip(), self.folder / name, self.environment(name))
        if name != HUB:
            self.running[name].until("is ready for")

    def close(self) -> None:
        for each in self.running.values():
            if each.process.poll() is None:
                each.process.kill()
                each.process.wait()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def parties(tmp_path: Path, wheel: Path, tiny_data: Path) -> Iterator[Organisations]:
    found = Organisations(tmp_path, wheel)
    lines = (tiny_data / "private.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    for at, name in enumerate((*FIRST, LATER)):
        (tmp_path / name / "mine.jsonl").write_text("".join(lines[at::4]), encoding="utf-8")
    yield found
    found.close()


@pytest.mark.flower
@pytest.mark.long
def test_each_block_of_the_tutorial_does_what_it_says(parties: Organisations) -> None:
    coordinated, hub = 0, parties.folder / HUB
    for block in blocks():
        if block.where == HUB and block.text.startswith("chatfed members certificate"):
            until = check_certificate(hub / "fed.coordinator" / "server.crt", *_of(hub))
        parties.do(block)
        if block.text.startswith("chatfed members remove"):
            parties.members[:] = ["north", "south", LATER]
        if block.text.startswith("chatfed coordinate"):
            coordinated += 1
            here = parties.running[HUB]
            here.until(f"Round {coordinated} of 5")
            if coordinated < 3:  # stopped, and then begun anew by the next block
                assert here.end(signal.SIGINT) == 130, here.said.read_text(encoding="utf-8")
                assert "Go on with the same command" in here.said.read_text(encoding="utf-8")
            else:
                assert here.end() == 0, here.said.read_text(encoding="utf-8")
    assert coordinated == 3
    assert check_certificate(hub / "fed.coordinator" / "server.crt", *_of(hub)) >= until

    assert [parties.running[name].end() for name in parties.members] == [0, 0, 0]
    east = parties.running["east"]
    assert east.end() == 2 and "does not know this member's transport key" in east.said.read_text(encoding="utf-8")

    federation = read_federation(hub / "fed" / "FEDERATION.toml")
    assert federation.edition == 4 and sorted(federation.roster) == ["north", "south", "west"]
    summary, privacy = (
        json.loads((hub / "runs/houses" / name).read_text()) for name in ("summary.json", "privacy.json")
    )
    assert summary["rounds"] == 5 and summary["clients"] == 3 and 0 < privacy["epsilon"] <= 8
    spent = {name: charged(parties.folder / name / "home" / "rounds.db") for name in (*FIRST, LATER)}
    assert set(spent["north"]) == set(spent["south"]) == {0, 1, 2, 3, 4} and max(spent["east"]) < min(spent["west"]) + 1


def charged(store: Path) -> list[int]:
    """Rounds for which a member's ledger has a charge."""
    with contextlib.closing(sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)) as database:
        keys = database.execute("select key from records where name like 'charge %'").fetchall()
    return sorted(int(key.split("/")[1]) for (key,) in keys)


def _of(hub: Path) -> tuple[str, str]:
    federation = read_federation(hub / "fed" / "FEDERATION.toml")
    return federation.authority, federation.host


# Units and the container


def settings(unit: Path) -> list[tuple[str, str]]:
    """(name, value) of each line of a unit, in its order."""
    lines = unit.read_text(encoding="utf-8").splitlines()
    return [(name, value) for line in lines if "=" in line and line[0] != "#" for name, value in [line.split("=", 1)]]


HARDENED = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "CapabilityBoundingSet": "",
    "User": "chatfed",
    "UMask": "0077",
    "StateDirectoryMode": "0700",
}


def test_there_is_a_unit_for_each_kind_of_party() -> None:
    assert [unit.name for unit in UNITS] == ["chatfed-coordinator.service", "chatfed-member.service"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_runs_a_command_that_there_is_without_root_and_writes_in_its_own_folder(unit: Path) -> None:
    found = dict(settings(unit))
    assert found | HARDENED == found
    given_up = [str(GONE)] if "member" in unit.stem else []  # only a member waits for somebody
    assert found["RestartPreventExitStatus"].split() == [str(WRONG), *given_up]
    program, *words = shlex.split(found["ExecStart"])
    assert program == "/opt/chatfed/bin/chatfed"
    command, rest = command_of(words)
    options = [word for word in rest if word.startswith("--")]
    assert options and set(options) <= options_of(command) and "--yes" not in options
    own = f"/var/lib/{found['StateDirectory']}"
    written = {"--out", "--home"} & set(rest)
    assert written and all(rest[rest.index(each) + 1].startswith(f"{own}/") for each in written)
    assert found["WorkingDirectory"] == own and f"HOME={own}" in [value for _, value in settings(unit)]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_itself_takes_a_unit_and_finds_it_closed(unit: Path, tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):  # every line is looked at all the same
        sections = re.findall(r"^\[(\w+)\]$", unit.read_text(encoding="utf-8"), re.MULTILINE)
        assert sections == ["Unit", "Service", "Install"]
        assert all(re.fullmatch(r"[A-Z][A-Za-z]+", name) for name, _ in settings(unit))
        return
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text(encoding="utf-8").replace("/opt/chatfed/bin/chatfed", "/bin/true"))
    seen = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, timeout=60)
    assert (seen.returncode, seen.stderr) == (0, "")
    rated: list[str | Path] = ["systemd-analyze", "security", "--offline=yes", "--threshold=20", copy]
    assert subprocess.run(rated, capture_output=True, text=True, timeout=60).returncode == 0


def test_the_container_has_this_wheel_and_no_root() -> None:
    lines = (DEPLOY / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    given = [line.split(None, 1) for line in lines if line and not line.startswith("#")]
    users = [value for word, value in given if word == "USER"]
    assert users == ["10001:10001"] and ["ENTRYPOINT", '["chatfed"]'] in given
    assert not any(word == "ADD" or "http" in value for word, value in given)
    (argument,) = [value for word, value in given if word == "ARG"]
    assert argument == f"WHEEL={_name_of_the_wheel()}"


def test_the_tutorial_names_this_wheel_and_every_unit() -> None:
    assert set(re.findall(r"chatfed-[\w.]+-py3-none-any\.whl", TUTORIAL)) == {_name_of_the_wheel()}
    assert all(unit.name in TUTORIAL or unit.stem in TUTORIAL for unit in UNITS)


def _name_of_the_wheel() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return f"{project['name']}-{project['version']}-py3-none-any.whl"


# What is said when something fails


def test_each_sentence_that_the_tutorial_quotes_stands_in_the_code() -> None:
    """A quotation is cut at its figures and names (…): each piece is looked for in all strings of the programs."""
    rows = [line for line in TUTORIAL.splitlines() if line.startswith("| ") and "“" in line]
    assert len(rows) > 15
    code = "".join(path.read_text(encoding="utf-8") for room in ("training", "chatfed") for path in _sources(room))
    code = re.sub(r'"\s*f?"', "", code)  # strings that go on in the next line
    for quoted in re.findall(r"“([^”]+)”", "\n".join(rows)):
        for piece in quoted.split("…"):
            assert piece.strip(" .:,") in code, piece


def _sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))
