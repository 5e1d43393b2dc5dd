"""A federation as its members agree to it, in one file: who takes part, under which recipe, from which base.

All that decides what a member gives and what is claimed for it is in `Federation.digest`, and the digest is in every
signature, mask and answer of a round: members that hold different files learn nothing together. Where the coordinator
is found, and which certificates it shows, may change without anybody's consent. Knows no network and no model.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from chatfed.secagg import primitives
from chatfed.secagg.primitives import KEY_BYTES, TRANSPORT_BYTES
from chatfed.types import ChatfedError, ClientId

from . import consent
from .agreement import Agreement
from .plan import Plan, resolve
from .recipe import LEAST_CLIENTS, SECTIONS, Recipe, RuntimeSection
from .settings import RecipeError, shown
from .tables import known_tables, nearest, parsed

RUN_BYTES, DIGEST_BYTES = 16, 32
LONGEST_NAME = 100  # characters
MOST_EDITIONS = 10**9
AGREED = {name: kind for name, kind in SECTIONS.items() if name != RuntimeSection.name}
"""Sections of the recipe that a federation's file has: [runtime] is each machine's own."""

HEAD = """# A federation of chatfed. Each member agrees to this file; `chatfed join` says in words to what.
# Whoever changes more than address and authority makes another edition, which each member must agree to anew:
# chatfed members --help

"""
_CERTIFICATES = re.compile(r"(-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n)+")


class FederationError(ChatfedError):
    """A federation's file cannot be used as it is written; names the key, and the file where there is one."""

    code = "bad_federation"
    mend = "ask for the file anew, or make it with chatfed invite and chatfed members"


@dataclass(frozen=True, order=True)
class Member:
    """Who takes part, and the public keys that it is known by."""

    name: ClientId
    identity: bytes  # Ed25519, 32 bytes: what it says in the protocol
    transport: bytes  # P-384, compressed, 49 bytes: what its node says on the network

    def __post_init__(self) -> None:
        if fault := name_fault(self.name):
            raise FederationError(f"{self.name!r} cannot be a member's name: {fault}.", param="members.name")
        if len(self.identity) != KEY_BYTES:
            raise FederationError(f"{self.name} needs an ed25519 key of 64 hex digits.", param="members.identity")
        if not primitives.is_transport_public(self.transport):
            raise FederationError(
                f"{self.name} needs a p384 key of 98 hex digits, a point of that curve.", param="members.transport"
            )

    @property
    def fingerprint(self) -> str:
        """Of both keys, to be read to each other over a telephone: 128 bits in hex."""
        return fingerprint(primitives.digest(b"member", self.identity, self.transport))


def fingerprint(digest: bytes) -> str:
    """The first 128 bits of a digest, in groups that can be read aloud."""
    return " ".join(digest[i : i + 2].hex() for i in range(0, 16, 2))


def name_fault(name: str) -> str:
    """Why a name cannot be one; empty where it can. A name is shown to people, so nothing in it is invisible."""
    if not name or name.strip() != name or not name.isprintable():
        return "one line of printable text, without blanks at its ends"
    return f"at most {LONGEST_NAME} characters" if len(name) > LONGEST_NAME else ""


@dataclass(frozen=True)
class Federation:
    """What the members of a federation agree to. Raises FederationError for what cannot be one."""

    name: str
    run: bytes  # 16 bytes, drawn once: no two federations are the same run
    edition: int  # from 1; each change of members or recipe makes another
    address: str  # host:port of the coordinator
    authority: str  # PEM: the certificate authority that the coordinator's certificate comes from
    base: bytes  # 32 bytes, `checkpoint.base_digest` of the folder of the base model
    recipe: Recipe  # its [runtime] is left as it is by default: each machine has its own
    members: tuple[Member, ...]  # by name

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", tuple(sorted(self.members)))
        object.__setattr__(self, "recipe", replace(self.recipe, runtime=RuntimeSection()))
        host_and_port(self.address)
        for key, fault in self._faults():
            if fault:
                raise FederationError(f"{key} {fault}.", param=key)

    def _faults(self) -> list[tuple[str, str]]:
        """(key, what is wrong with it), in the order of the file; empty words where nothing is."""
        pinned = self.recipe.secagg.identities == "roster"
        return [
            ("name", f"must be {fault}" if (fault := name_fault(self.name)) else ""),
            ("run", "" if len(self.run) == RUN_BYTES else f"must be {2 * RUN_BYTES} hex digits"),
            ("edition", "" if 1 <= self.edition <= MOST_EDITIONS else f"must be 1 or more, not {self.edition}"),
            ("base", "" if len(self.base) == DIGEST_BYTES else f"must be {2 * DIGEST_BYTES} hex digits"),
            (
                "authority",
                "" if _CERTIFICATES.fullmatch(self.authority) else "must be certificates in PEM, and nothing else",
            ),
            ("members", self._members_fault()),
            (
                "recipe.secagg.identities",
                "" if pinned else 'must be "roster": over a network members know each other\'s keys by this file alone',
            ),
        ]

    def _members_fault(self) -> str:
        if len(self.members) < LEAST_CLIENTS:
            return f"are {len(self.members)}, and a sum of fewer than {LEAST_CLIENTS} hides nobody: add members"
        for what in ("name", "identity", "transport"):
            seen: dict[Any, str] = {}
            for each in self.members:
                value = getattr(each, what)
                if value in seen:
                    twice = each.name if what == "name" else f"the same {what} key, of {seen[value]} and {each.name},"
                    return f"have {twice} twice: leave one of them"
                seen[value] = each.name
        return ""

    @property
    def host(self) -> str:
        """Of the coordinator; an IPv6 address without its brackets."""
        return host_and_port(self.address)[0]

    @property
    def port(self) -> int:
        """Of the coordinator."""
        return host_and_port(self.address)[1]

    @property
    def roster(self) -> Mapping[ClientId, bytes]:
        """Ed25519 public keys by name, as `parties.identity.Roster`."""
        return {each.name: each.identity for each in self.members}

    def member(self, name: str) -> Member:
        """Raises FederationError for one that is not there."""
        for each in self.members:
            if each.name == name:
                return each
        hint = nearest(name, [each.name for each in self.members])
        raise FederationError(f"{name} is no member of {self.name}, edition {self.edition}{hint}.", param=name)

    @cached_property
    def digest(self) -> bytes:
        """32 bytes: SHA-256 of all that members agree to; neither address nor authority is in it."""
        parts = [part for each in self.members for part in (each.name.encode(), each.identity, each.transport)]
        edition = self.edition.to_bytes(8, "little")
        return primitives.digest(
            b"federation", self.name.encode(), self.run, edition, self.recipe.digest(), self.base, *parts
        )

    @property
    def fingerprint(self) -> str:
        """Of the digest, to be compared by people."""
        return fingerprint(self.digest)

    def plan(self) -> Plan:
        """The recipe resolved for these members, bound to this file in the place of the recipe. Raises as `resolve`."""
        return self._plan

    @cached_property
    def _plan(self) -> Plan:
        plan = resolve(self.recipe, len(self.members))
        if plan.recipe.audit.canaries:
            raise FederationError(
                "audit.canaries puts clients and dialogues into a simulation, and members bring their own: set it to "
                "0.",
                param="audit.canaries",
            )
        if plan.measuring is None:
            raise FederationError(
                "data.hold_out or data.hold_out_epsilon is 0, and a coordinator has no dialogues to measure with: have "
                "members hold some out (0.1 is a tenth of each one's), and say what measuring may cost each of those "
                "(--set data.hold_out=0.1 --set data.hold_out_epsilon=4).",
                param="data.hold_out_epsilon",
            )
        agreement, count, measured = replace(plan.agreement, digest=self.digest), plan.counting, plan.measuring
        if count is not None:
            count = replace(count, agreement=self._bound(count.agreement, b"n-grams"))
        if measured is not None:
            measured = self._bound(measured, b"measured")
        counted = count.agreement if count else None
        claim = replace(plan.claim, agreement=agreement, counting=counted, simulated=False)
        return replace(plan, agreement=agreement, claim=claim, counting=count, measuring=measured)

    def _bound(self, agreement: Agreement, label: bytes) -> Agreement:
        """Of sums beside the rounds, as `plan` labels theirs: no message of the one is one of the other."""
        return replace(agreement, digest=hashlib.sha256(label + self.digest).digest())

    def in_words(self) -> list[str]:
        """What a member agrees to, a sentence or two a line. Raises as `plan`."""
        return consent.in_words(self, self.plan())

    def next_edition(self, **changes: Any) -> Federation:
        """The same federation with other members, or another recipe, as its next edition. Raises as `plan`."""
        after = replace(self, edition=self.edition + 1, **changes)
        after.plan()
        return after

    def to_toml(self) -> str:
        """The whole file; `read_federation` reads it back to an equal federation."""
        values = {key: getattr(self, key) for key in ("name", "run", "edition", "address", "base")}
        head = [f"{key} = {_written(value)}" for key, value in values.items()]
        members = ["\n".join(["[[members]]", *_pairs(asdict(each))]) for each in self.members]
        recipe = [
            "\n".join([f"[recipe.{section}]", *_pairs(table)])
            for section, table in asdict(self.recipe).items()
            if section in AGREED
        ]
        return (
            HEAD + "\n\n".join(["\n".join([*head, f"authority = '''\n{self.authority}'''"]), *members, *recipe]) + "\n"
        )


def _pairs(table: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_written(value)}" for key, value in table.items()]


def _written(value: object) -> str:
    return shown(value.hex() if isinstance(value, bytes) else value)


def host_and_port(address: str) -> tuple[str, int]:
    """Of host:port; an IPv6 address stands in brackets there, and without them here. Raises FederationError."""
    host, _, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else "" if ":" in host else host
    if re.fullmatch(r"[A-Za-z0-9.:_-]+", bare) and re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 1 << 16:
        return bare, int(port)
    example = "write it as chat.example:9443 or [2001:db8::1]:9443"
    raise FederationError(f"address {shown(address)} is no host:port: {example}.", param="address")


def read_federation(path: Path) -> Federation:
    """The federation of a file. Raises FederationError, or RecipeError for its recipe; both lead with the file."""
    try:
        return federation_of(parsed(path))
    except RecipeError as error:
        raise error.said_as(f"{path}: {error}") from None
    except FederationError as error:
        raise FederationError(f"{path}: {error}", param=error.param) from None


def federation_of(tables: Mapping[str, Any]) -> Federation:
    """As `read_federation`, of what stands in a file; no error names one."""
    known = tuple(each.name for each in fields(Federation))
    _only(tables, known, "")
    values = {key: _text(tables, key, key) for key in ("name", "address", "authority")}
    edition = tables["edition"]
    if type(edition) is not int:
        raise FederationError(f"edition must be a whole number, not {shown(edition)}.", param="edition")
    run, base = _hex(tables, "run", "run", RUN_BYTES), _hex(tables, "base", "base", DIGEST_BYTES)
    members = _members(tables["members"])
    return Federation(run=run, edition=edition, base=base, recipe=_recipe(tables["recipe"]), members=members, **values)


def _members(tables: Any) -> tuple[Member, ...]:
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise FederationError("members must be tables, each written as [[members]].", param="members")
    return tuple(_member(table, f"members[{number}]") for number, table in enumerate(tables, 1))


def _member(table: Mapping[str, Any], where: str) -> Member:
    _only(table, tuple(each.name for each in fields(Member)), f"{where}.")
    identity = _hex(table, "identity", f"{where}.identity", KEY_BYTES)
    transport = _hex(table, "transport", f"{where}.transport", TRANSPORT_BYTES)
    return Member(ClientId(_text(table, "name", f"{where}.name")), identity, transport)


def _recipe(tables: Any) -> Recipe:
    """A recipe that leaves nothing out: another version's defaults would be another agreement."""
    if not isinstance(tables, dict):
        raise FederationError("recipe must be tables, each written as [recipe.section].", param="recipe")
    if RuntimeSection.name in tables:
        raise FederationError("[recipe.runtime] is each machine's own, and in no federation.", param="recipe.runtime")
    given = known_tables(tables, AGREED)
    for section, kind in AGREED.items():
        for each in fields(kind):  # type: ignore[arg-type]  # every one is a dataclass
            if each.name not in given.get(section, {}):
                key = f"recipe.{section}.{each.name}"
                raise FederationError(f"{key} is missing: was the file made by another version of chatfed?", param=key)
    return Recipe(**{section: kind(**given[section]) for section, kind in AGREED.items()})  # type: ignore[arg-type]


def _only(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """These keys, all of them and no other."""
    for key in table:
        if key not in known:
            raise FederationError(f"unknown key {where}{key}{nearest(key, known)}.", param=f"{where}{key}")
    for key in known:
        if key not in table:
            raise FederationError(f"{where}{key} is missing.", param=f"{where}{key}")


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table[key]
    if not isinstance(value, str):
        raise FederationError(f"{where} must be a string in quotes, not {shown(value)}.", param=where)
    return value


def _hex(table: Mapping[str, Any], key: str, where: str, size: int) -> bytes:
    text = _text(table, key, where)
    if not re.fullmatch(rf"[0-9a-f]{{{2 * size}}}", text):
        raise FederationError(f"{where} must be {2 * size} hex digits in small letters.", param=where)
    return bytes.fromhex(text)
