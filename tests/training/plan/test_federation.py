"""A federation's file says all that members agree to; what it says is bound into every round, and nothing else is."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chatfed.secagg import primitives
from chatfed.types import ChatfedError, ClientId
from tests.training.federations import NAMES, PEM, federation, member
from training.plan.agreement import Agreement
from training.plan.federation import Federation, FederationError, Member, host_and_port, read_federation
from training.plan.plan import resolve
from training.plan.recipe import Recipe, load_recipe
from training.plan.settings import RecipeError


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "FEDERATION.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "made",
    [
        federation(),
        federation("Zoë", "a b", 'quote " and \\', settings=("data.me=Support,Desk", "privacy.unit=client")),
        federation(address="[2001:db8::1]:9443", authority=PEM * 2, edition=7),
    ],
    ids=["plain", "odd names", "other address"],
)
def test_a_file_is_read_back_to_an_equal_federation(made: Federation, tmp_path: Path) -> None:
    again = read_federation(written(tmp_path, made.to_toml()))
    assert again == made and again.digest == made.digest
    assert again.plan().agreement == made.plan().agreement


def test_members_stand_by_name_whatever_order_they_were_given_in() -> None:
    assert federation("west", "east", "north") == federation("north", "west", "east")
    assert list(federation("west", "east", "north").roster) == ["east", "north", "west"]


AGREED: list[Callable[[Federation], Federation]] = [
    lambda old: replace(old, name="towns"),
    lambda old: replace(old, run=b"s" * 16),
    lambda old: replace(old, edition=2),
    lambda old: replace(old, base=b"c" * 32),
    lambda old: replace(old, recipe=load_recipe(None, ["secagg.identities=roster"])),
    lambda old: replace(old, members=old.members[1:]),
    lambda old: replace(old, members=(*old.members[1:], member("east", b"k" * 32))),
    lambda old: replace(old, members=(*old.members[1:], replace(old.members[0], name=ClientId("eastern")))),
    lambda old: replace(old, members=(*old.members[1:], replace(old.members[0], transport=member("x").transport))),
    lambda old: replace(old, members=(*old.members[1:], replace(old.members[0], identity=member("x").identity))),
]


@pytest.mark.parametrize("change", AGREED)
def test_whatever_members_agree_to_changes_the_digest(change: Callable[[Federation], Federation]) -> None:
    assert change(federation()).digest != federation().digest


def test_address_authority_and_what_each_machine_chooses_change_no_digest() -> None:
    here = load_recipe(None, ["secagg.identities=roster", "runtime.workers=7", "runtime.out=elsewhere"])
    one = federation(recipe=replace(here, runtime=Recipe().runtime))
    assert one.digest == replace(one, address="other.example:1", authority=PEM * 2, recipe=here).digest
    assert "runtime" not in tomllib.loads(replace(one, recipe=here).to_toml())["recipe"]


def agreements(part: Any) -> Iterator[Agreement]:
    """All that are in a plan, wherever they stand."""
    if isinstance(part, Agreement):
        yield part
    elif dataclasses.is_dataclass(part):
        for each in dataclasses.fields(part):
            yield from agreements(getattr(part, each.name))


@pytest.mark.parametrize("more", [(), ("ngrams.longest=2", "ngrams.cells=300")])
def test_every_agreement_of_the_plan_is_bound_to_this_file(more: tuple[str, ...]) -> None:
    one, other = federation(settings=more), federation(settings=more, run=b"s" * 16)
    unbound = list(agreements(resolve(one.recipe, len(NAMES))))
    bound, elsewhere = list(agreements(one.plan())), list(agreements(other.plan()))
    assert len(bound) == len(unbound) == (5 if more else 3)
    digests = [{each.digest for each in found} for found in (unbound, bound, elsewhere)]
    assert len(digests[0]) == len(digests[1]) == len(digests[2]) == (3 if more else 2)
    assert not digests[1] & digests[0] and not digests[1] & digests[2]
    assert [replace(each, digest=b"") for each in bound] == [replace(each, digest=b"") for each in unbound]
    assert one.plan().agreement.digest == one.digest


def test_another_edition_has_the_next_number_and_is_refused_where_the_recipe_does_not_bear_it() -> None:
    one = federation()
    after = one.next_edition(members=(*one.members, member("centre")))
    assert (after.edition, after.run, len(after.members)) == (2, one.run, 5)
    with pytest.raises(FederationError, match=r"members are 2, and a sum of fewer than 3 hides nobody"):
        one.next_edition(members=one.members[:2])
    four = federation(settings=("federation.cohort=4",))
    with pytest.raises(RecipeError, match="cohort is 4"):
        four.next_edition(members=four.members[:3])


def test_identities_of_a_roster_are_the_only_way_over_a_network() -> None:
    with pytest.raises(FederationError, match=r'recipe.secagg.identities must be "roster"') as caught:
        federation(settings=("secagg.identities=none",))
    assert caught.value.param == "recipe.secagg.identities"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "houses"', 'nam = "houses"', "unknown key nam; did you mean name"),
        ('name = "houses"', "", "name is missing"),
        ('name = "houses"', 'name = "hou\\nses"', "name must be one line of printable text"),
        ('name = "houses"', 'name = "\\u202ehouses"', "name must be one line of printable text"),
        ('name = "houses"', "name = 3", "name must be a string in quotes, not 3"),
        ("edition = 1", "edition = 0", "edition must be 1 or more, not 0"),
        ("edition = 1", "edition = true", "edition must be a whole number, not true"),
        ("edition = 1", "edition = 99999999999999999999", "edition must be 1 or more"),
        ('run = "72', 'run = "7', "run must be 32 hex digits"),
        ('base = "62', 'base = "zz', "base must be 64 hex digits"),
        ("localhost:9443", "localhost", "is no host:port"),
        ("localhost:9443", "localhost:0", "is no host:port"),
        ("localhost:9443", "2001:db8::1:9443", "is no host:port"),
        ("localhost:9443", "https://localhost:9443", "is no host:port"),
        ("AAAA", "A A", "authority must be certificates in PEM"),
        ("BEGIN CERTIFICATE", "BEGIN PRIVATE KEY", "authority must be certificates in PEM"),
        ('name = "north"', 'name = "south"', "members have south twice"),
        ('name = "north"', 'name = " north"', "cannot be a member's name: one line of printable text"),
        ('name = "north"', "named = 'north'", r"unknown key members[2].named; did you mean name"),
        ('transport = "0', 'transport = "05', "transport must be 98 hex digits"),
        ("context = 256", "contxt = 256", "unknown key model.contxt; did you mean context"),
        ("context = 256", "", "recipe.model.context is missing: was the file made by another version"),
        ("context = 256", "context = 1", "model.context must be 8 or more"),
        ("[recipe.local]", "[recipe.runtime]\nworkers = 2\n[recipe.local]", "recipe.runtime] is each machine's own"),
        ("[recipe.local]", "[recipe.lokal]", "unknown section [lokal]; did you mean local"),
        ("edition = 1", "edition = ", "not TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_the_file(old: str, new: str, said: str, tmp_path: Path) -> None:
    text = federation().to_toml()
    assert old in text, "the test changes something"
    path = written(tmp_path, text.replace(old, new, 1))
    with pytest.raises(ChatfedError) as caught:
        read_federation(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ") and said in line and "\n" not in line


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        read_federation(tmp_path / "none.toml")


def test_keys_that_are_none_or_belong_to_two_make_no_member() -> None:
    good = member("north")
    for identity, transport in ((b"", good.transport), (good.identity, b"\2" + b"\xff" * 48), (good.identity, b"")):
        with pytest.raises(FederationError, match="north needs"):
            Member(ClientId("north"), identity, transport)
    one = federation()
    for twice in (replace(member("x"), identity=good.identity), replace(member("x"), transport=good.transport)):
        with pytest.raises(FederationError, match=r"the same (identity|transport) key, of north and x, twice"):
            replace(one, members=(*one.members, twice))


def test_a_member_is_found_by_name_or_the_nearest_is_said() -> None:
    assert federation().member("north").identity == primitives.identity_public(primitives.digest(b"test key", b"north"))
    with pytest.raises(FederationError, match="nord is no member of houses, edition 1; did you mean north"):
        federation().member("nord")


@pytest.mark.parametrize(
    ("address", "parts"),
    [("chat.example:9443", ("chat.example", 9443)), ("10.0.0.1:80", ("10.0.0.1", 80)), ("[::1]:65535", ("::1", 65535))],
)
def test_an_address_is_a_host_and_a_port(address: str, parts: tuple[str, int]) -> None:
    assert host_and_port(address) == parts
    assert (federation(address=address).host, federation(address=address).port) == parts
