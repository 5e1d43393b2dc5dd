"""Federations for tests: members whose keys follow from their names, and a recipe that is small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chatfed.secagg import primitives
from chatfed.types import ClientId
from training.parties import certificates
from training.plan.federation import Federation, Member
from training.plan.recipe import load_recipe

NAMES = ("east", "north", "south", "west")
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
SETTINGS = (
    "data.hold_out=0.2",
    "data.hold_out_epsilon=4",
    "secagg.identities=roster",
    "secagg.threshold=0.67",
    "ngrams.longest=0",
    "federation.rounds=2",
)


def key_of(name: str) -> bytes:
    """The private key of a member."""
    return primitives.digest(b"test key", name.encode())


def member(name: str, key: bytes = b"") -> Member:
    key = key or key_of(name)
    return Member(ClientId(name), primitives.identity_public(key), primitives.transport_public(key))


def federation(*names: str, settings: tuple[str, ...] = (), **changes: Any) -> Federation:
    """settings: of the recipe, after SETTINGS."""
    values: dict[str, Any] = {
        "name": "houses",
        "run": b"r" * 16,
        "edition": 1,
        "address": "localhost:9443",
        "authority": PEM,
        "base": b"b" * 32,
        "recipe": load_recipe(None, [*SETTINGS, *settings]),
        "members": tuple(map(member, names or NAMES)),
    }
    return Federation(**(values | changes))


def with_certificate(folder: Path, host: str = "localhost") -> str:
    """Makes an authority and a certificate in `folder`; the authority as PEM."""
    certificates.make_authority(folder)
    certificates.make_certificate(folder, host)
    return certificates.read_authority(folder / certificates.AUTHORITY)
