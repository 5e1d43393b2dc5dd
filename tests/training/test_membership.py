"""An invitation is whole or not there; each change of members is one command, one edition, and said to everybody."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chatfed.cli import main
from chatfed.model.checkpoint import base_digest
from chatfed.secagg import primitives
from tests.training.federations import NAMES, key_of, with_certificate
from training.durable import Busy
from training.membership import _alone
from training.parties.certificates import AUTHORITY, AUTHORITY_KEY, SERVER, SERVER_KEY, check_certificate, check_key
from training.parties.identity import member_line
from training.plan.federation import Federation, read_federation

SMALL = (
    *("data.hold_out=0.2", "data.hold_out_epsilon=4"),
    *("ngrams.longest=0", "secagg.threshold=0.67", "federation.rounds=2"),
)


def lines(path: Path, *names: str, salt: str = "") -> Path:
    path.write_text("".join(member_line(name, key_of(name + salt)) + "\n" for name in names), encoding="utf-8")
    return path


class House:
    """Where an invitation is made, and what the programs said last."""

    def __init__(self, folder: Path, base: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.base, self.capsys = folder, base, capsys
        self.file = folder / "fed" / "FEDERATION.toml"
        self.secrets = folder / "fed.coordinator"
        self.lines = lines(folder / "lines", *NAMES)
        self.out = self.err = ""

    def run(self, *words: object) -> int:
        code = main([str(word) for word in words])
        self.out, self.err = self.capsys.readouterr()
        assert len(self.err.splitlines()) <= 1 and "Traceback" not in self.err
        return code

    def invite(self, *more: object, address: str = "localhost:9443") -> int:
        settings = [word for each in SMALL for word in ("--set", each)]
        given = ("--name", "houses", "--address", address, "--members", self.lines, "--base", self.base)
        return self.run("invite", self.file.parent, *given, *settings, *more)

    def read(self) -> Federation:
        return read_federation(self.file)

    def left(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()} - {"lines"}


@pytest.fixture
def house(tmp_path: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]) -> House:
    return House(tmp_path, tiny_base, capsys)


@pytest.fixture
def invited(house: House) -> House:
    assert house.invite() == 0, house.err
    return house


def test_an_invitation_holds_what_members_need_and_the_secrets_lie_apart(invited: House) -> None:
    made = invited.read()
    assert [each.name for each in made.members] == list(NAMES) and (made.name, made.edition) == ("houses", 1)
    assert {path.name for path in invited.file.parent.iterdir()} == {"FEDERATION.toml", "base"}
    assert made.base == base_digest(invited.file.parent / "base") == base_digest(invited.base)
    assert {path.name for path in invited.secrets.iterdir()} == {AUTHORITY, AUTHORITY_KEY, SERVER, SERVER_KEY}
    assert invited.secrets.stat().st_mode & 0o777 == 0o700
    check_certificate(invited.secrets / SERVER, made.authority, "localhost")
    check_key(invited.secrets / SERVER, invited.secrets / SERVER_KEY)
    handed = b"".join(path.read_bytes() for path in invited.file.parent.rglob("*") if path.is_file())
    assert b"PRIVATE" not in handed
    assert made.recipe.secagg.identities == "roster" and made.recipe.federation.rounds == 2
    for said in (
        f"Hand {invited.file.parent}",
        f"Keep {invited.secrets}",
        made.fingerprint,
        "2 rounds of all 4 clients",
    ):
        assert said in invited.out
    assert invited.left() == {"fed", "fed.coordinator"}


def test_two_invitations_of_the_same_members_are_two_runs(invited: House) -> None:
    first = invited.read()
    os.rename(invited.file.parent, invited.folder / "first")
    assert invited.invite("--secrets", invited.folder / "other") == 0
    assert invited.read().run != first.run and invited.read().digest != first.digest


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--set", "secagg.identities=none"), 'recipe.secagg.identities must be "roster"'),
        (("--set", "federation.cohort=9"), "cohort"),
        (("--set", "privacy.dleta=1"), "did you mean delta"),
        (("--base", "no/such/folder"), "no/such/folder is no folder here"),
        (("--members", "no-such-lines"), "no-such-lines cannot be read"),
        (("--address", "localhost"), "is no host:port"),
        (("--name", " houses"), "name must be one line"),
        (("--certificate", "server.crt"), "go together"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_left(more: tuple[str, ...], said: str, house: House) -> None:
    assert house.invite(*more) == 2 and said in house.err
    assert house.left() == set()


def test_a_base_that_no_run_could_start_from_is_refused_before_it_is_handed_out(house: House) -> None:
    (house.folder / "empty").mkdir()
    assert house.invite("--base", house.folder / "empty") == 2
    assert house.left() == {"empty"}


def test_what_is_there_is_never_overwritten(invited: House) -> None:
    before = invited.file.read_bytes(), (invited.secrets / AUTHORITY_KEY).read_bytes()
    assert invited.invite() == 2 and "exists, and is never overwritten" in invited.err
    os.rename(invited.file.parent, invited.folder / "moved")
    assert invited.invite() == 2 and "fed.coordinator exists" in invited.err
    os.rename(invited.folder / "moved", invited.file.parent)
    assert before == (invited.file.read_bytes(), (invited.secrets / AUTHORITY_KEY).read_bytes())
    assert invited.left() == {"fed", "fed.coordinator"}


def test_a_folder_that_cannot_take_its_place_takes_the_secrets_with_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def refuse(source: Path, target: Path) -> None:
        if Path(target).name == "fed":
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    assert house.invite() == 2 and "cannot be made (No space left on device" in house.err
    assert house.left() == set()


def test_a_certificate_of_one_s_own_is_checked_and_linked_and_no_secret_is_made(house: House) -> None:
    own, other = house.folder / "own", house.folder / "other"
    own.mkdir()
    other.mkdir()
    authority = with_certificate(own, "chat.example")
    with_certificate(other, "chat.example")

    def invite(certificate: Path, key: Path, issuer: Path, address: str = "chat.example:9443") -> int:
        files = ("--certificate", certificate / SERVER, "--key", key / SERVER_KEY, "--authority", issuer / AUTHORITY)
        return house.invite(*files, address=address)

    assert invite(own, own, other) == 2 and "another authority" in house.err
    assert invite(own, other, own) == 2 and "is not the key of" in house.err
    assert invite(own, own, own, "localhost:1") == 2 and "not for localhost" in house.err
    assert house.left() == {"own", "other"}
    assert invite(own, own, own) == 0 and "server.key, a link to yours," in house.out
    assert house.read().authority == authority and house.left() == {"own", "other", "fed", "fed.coordinator"}
    assert {path.name: path.resolve() for path in house.secrets.iterdir()} == {
        name: own / name for name in (SERVER, SERVER_KEY)
    }
    assert house.run("members", "certificate", house.file) == 2 and "authority.crt cannot be read" in house.err


def test_members_are_listed_with_the_fingerprints_of_their_keys(invited: House) -> None:
    for words in (("members", invited.file), ("members", "list", invited.file)):
        assert invited.run(*words) == 0
        found = invited.read()
        assert found.fingerprint in invited.out
        assert [f"{each.name:<5}  {each.fingerprint}" for each in found.members] == invited.out.splitlines()[1:]


def test_adding_removing_and_rotating_are_an_edition_each(invited: House) -> None:
    first = invited.read()
    assert invited.run("members", "add", invited.file, lines(invited.folder / "more", "centre", "coast")) == 0
    added = invited.read()
    assert (added.edition, len(added.members)) == (2, 6) and "edition 2: added centre, coast; 6 members" in invited.out
    assert "each must agree to it anew" in invited.out and added.fingerprint in invited.out
    assert invited.run("members", "remove", invited.file, "north", "coast") == 0
    removed = invited.read()
    assert list(removed.roster) == ["centre", "east", "south", "west"] and removed.edition == 3
    assert invited.run("members", "rotate", invited.file, lines(invited.folder / "new", "east", salt="2")) == 0
    rotated = invited.read()
    assert rotated.member("east").identity == primitives.identity_public(key_of("east2"))
    assert rotated.member("west") == first.member("west") and rotated.edition == 4
    same = {(each.run, each.base, each.authority, each.recipe) for each in (first, added, removed, rotated)}
    assert len(same) == 1 and len({each.digest for each in (first, added, removed, rotated)}) == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "{file}", "{again}"), "members have north twice"),
        (("add", "{file}", "{stolen}"), "same identity key"),
        (("add", "{file}", "{empty}"), "holds no member's line"),
        (("rotate", "{file}", "{again}"), "north has these keys already"),
        (("rotate", "{file}", "{stranger}"), "stranger is no member of houses"),
        (("remove", "{file}", "nort"), "did you mean north"),
        (("remove", "{file}", "north", "south"), "members are 2, and a sum of fewer than 3 hides nobody"),
        (("add", "{file}.no", "{stranger}"), "cannot be read"),
        (("list", "no/such/FEDERATION.toml"), "cannot be read"),
    ],
)
def test_a_change_that_cannot_be_made_changes_nothing(words: tuple[str, ...], said: str, invited: House) -> None:
    before = invited.file.read_bytes()
    places = {"file": invited.file, "empty": lines(invited.folder / "empty")}
    places["again"] = lines(invited.folder / "again", "north")
    places["stranger"] = lines(invited.folder / "stranger", "stranger")
    places["stolen"] = invited.folder / "stolen"
    places["stolen"].write_text(member_line("thief", key_of("north")))
    assert invited.run("members", *(word.format(**places) for word in words)) == 2
    assert said in invited.err and invited.file.read_bytes() == before
    assert {path.name for path in invited.file.parent.iterdir()} == {"FEDERATION.toml", "base"}


def test_two_who_change_a_file_at_once_do_so_one_after_the_other(
    invited: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.membership.WAIT", 0.2)
    with _alone(invited.file):
        with pytest.raises(Busy, match="Somebody else is changing"), _alone(invited.file):
            pass
        assert invited.run("members", "remove", invited.file, "north") == 2
    assert invited.read().edition == 1
    assert invited.run("members", "remove", invited.file, "north") == 0


def test_a_certificate_is_renewed_and_may_be_for_another_address_in_the_same_edition(invited: House) -> None:
    before, certificate = invited.read(), (invited.secrets / SERVER).read_bytes()
    assert invited.run("members", "certificate", invited.file) == 0
    assert (invited.secrets / SERVER).read_bytes() != certificate and invited.read() == before
    assert invited.run("members", "certificate", invited.file, "--address", "127.0.0.1:9000") == 0
    moved = invited.read()
    assert moved.address == "127.0.0.1:9000" and (moved.edition, moved.digest) == (1, before.digest)
    check_certificate(invited.secrets / SERVER, before.authority, "127.0.0.1")
    with_certificate(_made(invited.folder / "others"))
    assert invited.run("members", "certificate", invited.file, "--secrets", invited.folder / "others") == 2
    assert "is not the authority" in invited.err


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_base_is_made_of_public_text_where_the_recipe_names_none(house: House, tiny_data: Path) -> None:
    sizes = ("hidden=16", "layers=1", "heads=2", "intermediate=32", "vocabulary=400", "context=64")
    settings = [f"model.{each}" for each in sizes]
    settings += ["pretrain.epochs=1", "pretrain.replicas=1", "pretrain.max_tokens=2000", "runtime.workers=1"]
    settings += [f"data.public={tiny_data / 'public.jsonl'}", f"runtime.cache={house.folder / 'cache'}"]
    words = [word for each in settings for word in ("--set", each)]
    assert house.invite("--base", "", *words) == 0, house.err
    made = house.read()
    (cached,) = [path for path in (house.folder / "cache" / "base").iterdir() if path.is_dir()]
    assert made.base == base_digest(cached) == base_digest(house.file.parent / "base")
