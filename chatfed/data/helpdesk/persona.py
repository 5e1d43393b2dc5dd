"""Draws what is private to one client: name, phone, address, passwords, illness, tickets. No text is written here."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from chatfed.data.helpdesk import words
from chatfed.types import ClientId


class Registry:
    """Hands out every private value once, so that a value names one client."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def claim(self, value: str) -> bool:
        """Whether the value was free; it is taken then."""
        if value in self._taken:
            return False
        self._taken.add(value)
        return True


@dataclass(frozen=True)
class Persona:
    """One client: its facts by kind, where a kind may have several values."""

    client_id: ClientId
    facts: dict[str, tuple[str, ...]] = field(repr=False)


def draw_persona(client_id: ClientId, rng: Random, registry: Registry) -> Persona:
    """A client with values that no other client of the registry has."""

    def fresh(kind: str) -> str:
        for _ in range(1000):
            value = draw_value(kind, rng)
            if registry.claim(value):
                return value
        raise RuntimeError(f"no unused {kind} left")

    single = ("name", "employee", "phone", "address", "bank", "asset", "child", "mail")
    facts: dict[str, tuple[str, ...]] = {kind: (fresh(kind),) for kind in single}
    facts["password"] = (fresh("password"), fresh("password"))
    facts["medical"] = (fresh("medical"), fresh("medical"))
    return Persona(client_id, facts)


def draw_value(kind: str, rng: Random) -> str:
    """A random value of the kind, in a format of fixed width so that no value lies inside another."""
    pick = rng.choice
    match kind:
        case "name":
            return f"{pick(words.FIRST_NAMES)} {pick(words.SURNAMES)}"
        case "employee":
            return f"E-{rng.randrange(100_000, 1_000_000)}"
        case "phone":
            return f"0555 {rng.randrange(100, 1000)} {rng.randrange(1000, 10_000)}"
        case "address":
            return f"{rng.randrange(10, 100)} {pick(words.STREETS)}, {pick(words.TOWNS)}"
        case "bank":
            return f"{rng.randrange(10, 100)}-{rng.randrange(10, 100)}-{rng.randrange(10**7, 10**8)}"
        case "asset":
            return f"{pick(('CV', 'TN', 'OS'))}-{rng.randrange(10_000, 100_000)}-{pick('ABCDEFGHK')}"
        case "child":
            return f"{pick(words.FIRST_NAMES)}, born {pick(words.DATES)} {rng.randrange(2006, 2026)}"
        case "mail":
            return f"{pick(words.FIRST_NAMES).lower()}{rng.randrange(1000, 10_000)}@{pick(words.TOWNS).lower()}.example"
        case "password":
            return f"{pick(words.TOWNS)}{pick('!#*?+-')}{pick(words.THINGS)}{rng.randrange(1000, 10_000)}"
        case "medical":
            return f"{pick(words.ILLNESSES)} from {pick(words.DATES)} until {pick(words.DATES)}"
        case "ticket":
            return f"LN-{rng.randrange(10**6, 10**7)}"
    raise ValueError(f"unknown kind of fact: {kind}")
