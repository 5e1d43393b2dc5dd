"""A machine that loses power at any moment, whatever its disk had kept by then, loses no charge and answers once.

A process that plays rounds is traced; from what it did to its files, disks are made as a loss of power may leave them
(tests/training/disk.py says what is assumed), and clients go on from each. CHATFED_POWER_CUTS says how often (CI: 12).
`make test-power-cuts` does it 200 times for each kind of store and of identities, and fails where nothing can be
traced.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from chatfed.privacy.ledger import Ledger
from chatfed.secagg.primitives import KEY_BYTES
from tests.training.disk import Disk, Named, Operation, Said, Wrote
from tests.training.federation import FOUR, MECHANISM, Federation
from tests.training.parties.lives import (
    GENEROUS,
    Life,
    Together,
    check_answers,
    check_charges,
    check_that_nothing_is_left,
)
from tests.training.tracing import CannotTrace, trace
from training.durable import from_json, read_if_there, write_atomically
from training.parties.identity import new_key, read_key
from training.parties.store import Store

CUTS = int(os.environ.get("CHATFED_POWER_CUTS", "12"))
OF_ONE_LIFE = min(20, CUTS // 2)  # cuts; the next life goes on from one of them
ROUNDS = 2  # of each life, and after each cut
TRIES = 30  # of a round, which a silent client may end
FEW = 12  # pages of SQLite's log before it is written back, in place of a thousand


def traced(root: Path, work: Callable[[], object]) -> tuple[list[Operation], list[Operation]]:
    """How to make what was there, and what the process then did."""
    try:
        return trace(root, work)
    except CannotTrace as why:
        if "CHATFED_POWER_CUTS" in os.environ:
            raise
        pytest.skip(f"no power cuts on this machine: {why}")


def live(life: Life, until: int, seed: int) -> None:
    """Rounds, with processes of clients that end between them: the last one writes SQLite's log back."""
    random.seed(seed)
    for _ in range(TRIES):
        if life.done >= until:
            return
        for name in FOUR:
            if random.random() < 0.2:
                life.federation.restarted(name)
            if seed % 2:
                life.federation.records(name).store._database.execute(f"pragma wal_autocheckpoint = {FEW}")
        life.play(life.done)
    raise AssertionError(f"no sum in {TRIES} attempts: {life.federation.refusals}")


def moments(done: Sequence[Operation], luck: random.Random) -> list[int]:
    """After how many operations, each another number; half of them anywhere, and half right after something left."""
    left = [at + 1 for at, operation in enumerate(done) if isinstance(operation, Said)]
    some = luck.sample(left, OF_ONE_LIFE // 2)
    return sorted({*some, *luck.sample(sorted({*range(1, len(done) + 1)} - {*some}), OF_ONE_LIFE - len(some))})


class Keys:
    """Those that were destroyed, and that are promised to be gone once an answer has left after that."""

    def __init__(self) -> None:
        self._files = set[int]()
        self._there: dict[tuple[int, int], bytes] = {}
        self._destroyed, self.gone = set[bytes](), set[bytes]()

    def see(self, operation: Operation) -> None:
        """The next thing that a process did."""
        match operation:
            case Named(_, names):
                self._files |= {file for name, file in names.items() if file is not None and name.endswith(".keys")}
            case Wrote(file, offset, data) if file in self._files:
                for at in range(0, len(data), KEY_BYTES):
                    self._put((file, offset + at), data[at : at + KEY_BYTES])
            case Said(line) if from_json(line)["what"] not in ("learns", "no sum"):
                self.gone |= self._destroyed

    def _put(self, place: tuple[int, int], key: bytes) -> None:
        before = self._there.get(place, key)
        if before != key and any(before):
            self._destroyed.add(before)
        self._there[place] = key


Begin = Callable[[Path], Life]
"""A server and its clients, from what a folder holds."""


def cuts(begin: Begin, folder: Path, luck: random.Random, target: Path) -> Iterator[Path]:
    """What a life leaves that goes on in a folder and loses power, at each of some moments."""
    before = read_if_there(folder / "diary") or b""
    seed, until = luck.randrange(1000), int(read_if_there(folder / "done") or b"0") + ROUNDS
    there, done = traced(folder, lambda: live(begin(folder), until, seed))
    target.mkdir()
    disk, keys, at = Disk(), Keys(), 0
    for moment in [0, *moments(done, luck)]:
        for operation in done[at:moment] if moment else there:
            disk.apply(operation)
            keys.see(operation)
        if moment:
            at, image = moment, target / str(moment)
            disk.image(image, luck)
            (image / "diary").write_bytes(before + b"".join(disk.said))
            check_erased(image, keys.gone)
            yield image


def check_erased(image: Path, gone: set[bytes]) -> None:
    everything = b"".join(path.read_bytes() for path in image.rglob("*") if path.is_file())
    assert not [key for key in gone if key in everything]


def check_that_it_goes_on(life: Life, seed: int) -> None:
    """What was charged, and said, before the power went still holds, and so it does after some more rounds.

    Nobody stays out for good.
    """
    check_charges(life, life.diary.read())
    live(life, life.done + ROUNDS, seed)
    life.all_there, last = True, life.done
    life.play(last)
    assert life.done == last + 1 and from_json((life.folder / f"settled-{last}").read_bytes()) == list(FOUR)
    said = life.diary.read()
    check_charges(life, said)
    check_answers(said)
    check_that_nothing_is_left(life)


KINDS = [("none", Federation), ("roster", Federation), ("none", Together), ("roster", Together)]


@pytest.mark.parametrize(("identities", "kind"), KINDS)
def test_without_power_at_random_moments_no_charge_is_lost_or_doubled_no_second_answer_leaves_and_no_key_comes_back(
    tmp_path: Path, identities: str, kind: type[Federation]
) -> None:
    begin, luck, folder = partial(Life, identities=identities, kind=kind), random.Random(7), tmp_path / "first"
    folder.mkdir()
    if identities == "roster":  # who takes part has its key for long
        begin(folder).end()
    for at in range(0, CUTS, OF_ONE_LIFE):
        for image in cuts(begin, folder, luck, tmp_path / f"from-{at}"):
            life = begin(image)
            check_that_it_goes_on(life, luck.randrange(1000))
            life.end()
        folder = image  # the next life goes on from here


def write_a_store(path: Path) -> None:
    store = Store(path)
    store.of(FOUR[0]).write("word", "key", b"body")
    store.commit()


WRITERS: dict[str, Callable[[Path], object]] = {
    "a file": lambda path: write_atomically(path, b"content"),
    "a ledger": lambda path: Ledger.open(path, FOUR[0], GENEROUS.budget).charge("run/0", MECHANISM),
    "a store": write_a_store,
}
READERS: dict[str, Callable[[Path], object]] = {
    "a file": lambda path: path.read_bytes() == b"content",
    "a ledger": lambda path: len(Ledger.open(path, FOUR[0], GENEROUS.budget).entries) == 1,
    "a store": lambda path: Store(path).of(FOUR[0]).read("word") == ("key", b"body"),
}


@pytest.mark.parametrize("what", WRITERS)
def test_what_was_written_in_new_folders_is_there_without_power_from_then_on(tmp_path: Path, what: str) -> None:
    root, below = tmp_path / "root", Path("new") / "within" / "file"
    root.mkdir()
    check_kept(root, lambda: WRITERS[what](root / below), lambda image: READERS[what](image / below))


def test_a_new_identity_is_there_without_power_from_then_on(tmp_path: Path) -> None:
    key = bytes(range(32))
    check_kept(
        tmp_path, lambda: new_key(tmp_path / "key", lambda size: key), lambda image: read_key(image / "key") == key
    )


def test_what_was_not_synced_is_there_or_not(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    images = disks_after(tmp_path / "root", lambda: (tmp_path / "root" / "file").write_bytes(b"content"))
    assert {read_if_there(image / "file") for image in images} >= {None, b"", b"content"}


def check_kept(root: Path, work: Callable[[], object], there: Callable[[Path], object]) -> None:
    for image in disks_after(root, work):
        assert there(image)


def disks_after(root: Path, work: Callable[[], object]) -> Iterator[Path]:
    """What may be left once `work` is done."""
    before, done = traced(root, work)
    disk, luck = Disk(), random.Random(3)
    for operation in (*before, *done):
        disk.apply(operation)
    for number in range(24):
        image = root.parent / f"{root.name}-{number}"
        disk.image(image, luck)
        yield image
