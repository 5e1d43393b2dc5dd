"""What a server that cheats tries within one round: with models, with puppets, below floors.

Each attack runs against real clients of its own (`victims.py`) and gives a `Cell`. Those over several attempts and
rounds are `retries.py`'s.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from chatfed.privacy.noise import system_random
from chatfed.secagg import messages, primitives
from chatfed.secagg.messages import Advert, ProtocolError
from chatfed.secagg.primitives import SIGNATURE_BYTES
from chatfed.types import ClientId, FloatVector

from ..parties.session import Session, Step
from .cheating import Cheating
from .matched import Seen
from .outcomes import SMALL, Cell, Outcome, crafted, invitation, invited, refused
from .victims import Setting, Victims, names, victims

# Models


def other_model_to_one(setting: Setting) -> Cell:
    """One client of a sum is given another model (Pasquini et al. 2022, 2111.07380), and all others an honest one."""
    with victims(setting, SMALL) as those:
        session = those.session()
        target = session.cohort[0]
        cheat = Cheating(those, session, {target: dataclasses.replace(session, weights=crafted(those))})
        cheat.agree()
        cheat.collect()
        answers = cheat.survivors(range(1, 1 + len(session.cohort)))
        if cheat.refused:
            return Cell.of(next(iter(cheat.refused.values())))
        right = _right(cheat, answers)
        if right < 0.1:
            return Cell(Outcome.REFUSED, f"masks do not cancel: {right:.0%} of the sum's numbers are right")
        return Cell.behind_noise(setting, Seen.SUM, "a sum over two models")


def _right(cheat: Cheating, answers: Mapping[int, bytes]) -> float:
    """Share of coordinates in which what is unmasked is the sum of the clients' uploads."""
    total = cheat.unmasked(answers)
    stored = [(cheat.those.records(name).read("update") or ("", b""))[1] for name in cheat.session.cohort]
    sums = np.sum([np.frombuffer(each, total.dtype) for each in stored], axis=0, dtype=total.dtype)
    return float((total == sums).mean())


def same_crafted_model(setting: Setting) -> Cell:
    """All get one crafted model, in which one dialogue alone moves anything (2112.02918, 2201.12675)."""
    with victims(setting, SMALL) as those:
        outcome = those.round(those.session(weights=crafted(those)))
        return Cell.behind_noise(setting, Seen.SUM, f"{len(outcome.survivors)} clients learn from it")


def overflowing_model(setting: Setting) -> Cell:
    """Finite weights so large that training overflows for some dialogues: does a client fail for what it holds?"""

    def overflows(weights: FloatVector) -> Sequence[FloatVector]:
        return [np.full(len(weights), np.nan, np.float32)]

    with victims(setting, SMALL, dict.fromkeys(names(setting.clients), overflows)) as those:
        session = those.session(weights=np.full(SMALL, 1e30, np.float32))
        error = refused(those, session.cohort[0], invitation(session))
        if error is not None:
            return Cell(Outcome.OPEN, f"the client fails, and so tells that its dialogues overflow: {error}")
        return Cell.behind_noise(setting, Seen.SUM, "the client answers as ever")


def model_that_is_not_finite(setting: Setting) -> Cell:
    """Weights with a NaN among them."""
    with victims(setting, SMALL) as those:
        weights = crafted(those)
        weights[3] = np.nan
        session = those.session(weights=weights)
        return invited(those, session)


# Puppets


def keys_for_everybody(setting: Setting) -> Cell:
    """The server stands between: behind every other name of the cohort is a puppet of its own."""
    with victims(setting, SMALL) as those:
        session = those.session(weights=crafted(those))
        if setting.pinned:  # whose signatures it does not have
            cheat = Cheating(those, session)
            own = cheat.parameters.session(session.scope, session.epoch, cheat.roster)
            return _dealt_for(cheat, own, _adverts(cheat))
        with victims(setting, SMALL) as puppets:
            return _alone_among(those, puppets, session)


def _adverts(cheat: Cheating) -> dict[int, Advert]:
    """Key pairs of the server's own, for all numbers but 1."""
    pairs = {
        i: [primitives.public_key(primitives.draw(system_random, 32)) for _ in "mask envelope".split()]
        for i in cheat.numbers
    }
    return {i: Advert(*pair) for i, pair in pairs.items() if i != 1}


def _dealt_for(cheat: Cheating, session: bytes, adverts: Mapping[int, Advert]) -> Cell:
    """Invites number 1 and shows it its own advert among those given, signed by nobody: does it deal shares?"""
    own = cheat.parameters.session(cheat.session.scope, cheat.session.epoch, cheat.roster)
    (mine,) = cheat.ask(Step.SESSION, {1: cheat.session.to_bytes()}).values()
    everyone = {1: Advert.decode(mine, 1, own, cheat.roster), **adverts}
    sign = (lambda digest: bytes(SIGNATURE_BYTES)) if cheat.roster else None
    frames = {i: advert.encode(i, session, sign) for i, advert in everyone.items()}
    frames |= {1: mine} if session == own else {}
    shared = cheat.ask(Step.ADVERTS, {1: messages.encode_adverts(session, frames)})
    return Cell(Outcome.OPEN, "it deals shares for it") if shared else Cell.of(cheat.refused[cheat.cohort[0]])


def cohort_of_puppets(setting: Setting) -> Cell:
    """One client is invited to a cohort whose other names the server made up."""
    with victims(setting, SMALL) as those, victims(setting, SMALL, clients=names(setting.clients, "puppet")) as puppets:
        session = those.session()
        others = puppets.clients[: len(session.cohort) - 1]
        return _alone_among(those, puppets, dataclasses.replace(session, cohort=(session.cohort[0], *others)))


def _alone_among(those: Victims, puppets: Victims, session: Session) -> Cell:
    target = session.cohort[0]

    def exchange(asked: Mapping[ClientId, bytes]) -> Iterator[tuple[ClientId, bytes]]:
        yield from those({name: message for name, message in asked.items() if name == target})
        yield from puppets({name: message for name, message in asked.items() if name != target})

    seen_by_server = {**puppets.roster, **{name: those.roster[name] for name in those.roster if name == target}}
    try:
        outcome = those.round(session, exchange, roster=seen_by_server)
    except ProtocolError:
        outcome = None
    if target in those.refusals:
        return Cell.of(those.refusals[target])
    assert outcome is not None, "nobody else refuses"
    got = outcome.mean * len(outcome.survivors) - np.sum(
        [puppets.upload(n, session) for n in session.cohort[1:]], axis=0
    )
    return _of_one(those, target, session, got)


def _of_one(those: Victims, target: ClientId, session: Session, got: FloatVector) -> Cell:
    """What is left of a sum is one client's upload."""
    upload = those.upload(target, session)
    apart = float(np.abs(got - upload).max() / max(1e-12, float(np.abs(upload).max())))
    assert apart < 1e-2 or not upload.any(), f"what is left is {apart:.2g} from the client's upload"
    return Cell.behind_noise(those.setting, Seen.UPLOAD, "the sum less the puppets' is one client's upload")


def few_puppets(setting: Setting) -> Cell:
    """As many clients of the cohort work with the server as `secagg.corrupt` counts."""
    with victims(setting, SMALL) as those:
        session = those.session()
        those.round(session)
        known = setting.agreement.sums.colluders(len(session.cohort))
        return Cell.behind_noise(setting, Seen.SUM, f"a sum less what {known} of {len(session.cohort)} gave")


def all_others_are_puppets(setting: Setting) -> Cell:
    """All clients of the cohort but one work with the server: on the roster too, where there is one."""
    with victims(setting, SMALL) as those:
        session = those.session()
        outcome = those.round(session)
        others = np.sum([those.upload(name, session) for name in session.cohort[1:]], axis=0)
        got = outcome.mean * len(outcome.survivors) - others
        return _of_one(those, session.cohort[0], session, got)


# Floors and parameters


def smaller_cohort(setting: Setting) -> Cell:
    """An invitation that names fewer clients than the recipe says."""
    with victims(setting, SMALL) as those:
        session = those.session()
        return invited(those, dataclasses.replace(session, cohort=session.cohort[:3], lags=()))


def fewer_survivors(setting: Setting) -> Cell:
    """A survivor set one below the clients' floor, though all are there."""
    with victims(setting, SMALL) as those:
        session = those.session()
        cheat = Cheating(those, session)
        cheat.agree()
        cheat.collect()
        fewest = setting.agreement.sums.fewest(len(session.cohort))
        answered = cheat.survivors(range(1, fewest))
        if answered:
            return Cell.behind_noise(setting, Seen.UPLOAD, f"{len(answered)} answer for {fewest - 1}")
        return Cell.of(cheat.refused[session.cohort[0]])


def lower_parameters(setting: Setting) -> Cell:
    """A lower threshold and a narrower ring: as a recipe, and as what keys are agreed on for."""
    secagg = dataclasses.replace(setting.recipe.secagg, threshold=0.51, ring_bits=16)
    weaker = dataclasses.replace(setting.recipe, secagg=secagg)
    with victims(setting, SMALL) as those:
        session = those.session()
        first = invited(those, dataclasses.replace(session, recipe=weaker.digest()))
        if first.outcome is not Outcome.REFUSED:
            return first
        cheat = Cheating(those, session)
        low = dataclasses.replace(cheat.parameters, threshold=cheat.parameters.threshold - 1)
        return _dealt_for(cheat, low.session(session.scope, session.epoch, cheat.roster), _adverts(cheat))


def another_clip_norm(setting: Setting) -> Cell:
    """An invitation that says how long an update may be, a thousand times what was agreed."""
    with victims(setting, SMALL) as those:
        session = those.session(clip_norm=1000 * setting.recipe.privacy.clip_norm)
        if setting.agreement.moving_clip_norm and refused(those, session.cohort[0], invitation(session)) is None:
            return Cell.behind_noise(setting, Seen.SUM, "the clip norm is the server's, and the noise moves with it")
        return invited(those, session)
