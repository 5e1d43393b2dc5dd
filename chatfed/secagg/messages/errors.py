"""What can be wrong with a round, as errors that name who or what. Knows no bytes."""

from __future__ import annotations

from collections.abc import Sequence

from chatfed.types import ChatfedError

NAMED = 10  # of those who are missing, in an error


class ProtocolError(ChatfedError):
    """A round of secure aggregation cannot go on as asked; no secret was spent."""

    code = "protocol_error"
    mend = "start the round again"


class MalformedMessage(ProtocolError):
    """A message that is not what the protocol allows. `sender` is a participant, or 0 for the server."""

    code = "malformed_message"
    mend = "leave the sender out and go on"

    def __init__(self, sender: int, kind: str, field: str) -> None:
        self.sender, self.kind, self.field = sender, kind, field
        who = f"participant {sender}" if sender else "the server"
        super().__init__(
            f"{who} sent a malformed message: {kind}, wrong {field}; leave the sender out and go on", param=field
        )


class BelowThreshold(ProtocolError):
    """Too few participants are left at a stage; nothing was unmasked.

    `missing`: names of those who are not, where they are known.
    """

    code = "below_threshold"
    mend = "start the round again with those who are there"

    def __init__(self, stage: str, got: int, need: int, missing: Sequence[str] = ()) -> None:
        self.stage, self.got, self.need, self.missing = stage, got, need, tuple(missing)
        who = f"; missing: {', '.join(self.missing[:NAMED])}" if self.missing else ""
        more = f" and {len(self.missing) - NAMED} more" if len(self.missing) > NAMED else ""
        super().__init__(
            f"only {got} participants at stage {stage}, {need} needed{who}{more}; nothing was unmasked, start again"
        )


def check_count(stage: str, got: int, need: int) -> None:
    """Raises BelowThreshold."""
    if got < need:
        raise BelowThreshold(stage, got, need)


class RefusedParameters(ProtocolError):
    """Parameters that are not sound, or below what this participant accepts."""

    code = "refused_parameters"
    mend = "agree on parameters that every participant's floors allow"


class RefusedSurvivors(ProtocolError):
    """A survivor set that this participant does not answer."""

    code = "refused_survivors"
    mend = "start the round again, with one survivor set for all"


class RefusedCertificate(ProtocolError):
    """A certificate that does not show a quorum for the survivor set that this participant consented to."""

    code = "refused_certificate"
    mend = "start the round again; where it happens twice, look at who runs the server"


class AlreadyAnswered(ProtocolError):
    """This participant has answered this round's unmask request once; its secrets are erased."""

    code = "already_answered"
    mend = "begin a new round"


class WrongStep(ProtocolError):
    """A step was asked for out of order."""

    code = "wrong_step"
    mend = "call the steps in their order"


class BadShares(ProtocolError):
    """Shares of `owner`'s secret do not give the secret it committed to: it dealt wrong ones, or `holders` gave such.

    Who of them cannot be told without a proof of correct sharing: enough holders who lie alike can make an honest
    owner look guilty, and an owner who deals badly makes its holders look so.
    """

    code = "bad_shares"
    mend = "start the round again, without the participants named where it happens twice"

    def __init__(self, owner: int, holders: tuple[int, ...]) -> None:
        self.owner, self.holders = owner, holders
        super().__init__(
            f"participant {owner}'s secret cannot be recovered: it dealt wrong shares, or some of the {len(holders)} "
            f"who hold them lied; nothing was unmasked"
        )


class BadKeyShares(ProtocolError):
    """What `holders` gave does not sum up to a key that opens the sum, or too few gave anything.

    One of them lied, or a participant dealt wrong shares, or shares of another key than it encrypted with. Where there
    are answers to spare, those that do not fit the others are found and left out; where all fit, nobody can be named.
    """

    code = "bad_key_shares"
    mend = "start the round again; where it happens twice, leave participants out until it does not"

    def __init__(self, holders: tuple[int, ...], why: str) -> None:
        self.holders = holders
        super().__init__(
            f"the shares of the sum of keys that participants {', '.join(map(str, holders))} gave do not open the sum: "
            f"{why}; nothing was opened"
        )
