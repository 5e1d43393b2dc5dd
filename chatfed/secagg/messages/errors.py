"""What can be wrong with a round, as errors that name who or what. Knows no bytes."""

from __future__ import annotations

from chatfed.types import ChatfedError


class ProtocolError(ChatfedError):
    """A round of secure aggregation cannot go on as asked; no secret was spent."""


class MalformedMessage(ProtocolError):
    """A message that is not what the protocol allows. `sender` is a participant, or 0 for the server."""

    def __init__(self, sender: int, kind: str, field: str) -> None:
        self.sender, self.kind, self.field = sender, kind, field
        who = f"participant {sender}" if sender else "the server"
        super().__init__(f"{who} sent a malformed message: {kind}, wrong {field}; leave the sender out and go on")


class BelowThreshold(ProtocolError):
    """Too few participants are left at a stage; nothing was unmasked."""

    def __init__(self, stage: str, got: int, need: int) -> None:
        self.stage, self.got, self.need = stage, got, need
        super().__init__(f"only {got} participants at stage {stage}, {need} needed; nothing was unmasked, start again")


def check_count(stage: str, got: int, need: int) -> None:
    """Raises BelowThreshold."""
    if got < need:
        raise BelowThreshold(stage, got, need)


class RefusedParameters(ProtocolError):
    """Parameters that are not sound, or below what this participant accepts."""


class RefusedSurvivors(ProtocolError):
    """A survivor set that this participant does not answer."""


class RefusedCertificate(ProtocolError):
    """A certificate that does not show a quorum for the survivor set that this participant consented to."""


class AlreadyAnswered(ProtocolError):
    """This participant has answered this round's unmask request once; its secrets are erased."""


class WrongStep(ProtocolError):
    """A step was asked for out of order."""


class BadShares(ProtocolError):
    """Shares of `owner`'s secret do not give the secret it committed to: it dealt wrong ones, or `holders` gave such.

    Who of them cannot be told without a proof of correct sharing: enough holders who lie alike can make an honest
    owner look guilty, and an owner who deals badly makes its holders look so.
    """

    def __init__(self, owner: int, holders: tuple[int, ...]) -> None:
        self.owner, self.holders = owner, holders
        super().__init__(
            f"participant {owner}'s secret cannot be recovered: it dealt wrong shares, or some of the {len(holders)} "
            f"who hold them lied; nothing was unmasked"
        )
