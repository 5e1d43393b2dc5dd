"""Which Flower carries a federation, and what goes wrong between a member and its coordinator, as errors.

Imports nothing of Flower, so that whoever has none is told so. Knows no message.
"""

from __future__ import annotations

import logging
import os
from importlib import metadata

from chatfed.types import ChatfedError

from ..durable import Abandoned

TAKEN = "1.42"  # the modules beside this one stand on its inside, which may change with any other


class FlowerMissing(ChatfedError):
    """Flower, which carries the messages, is not installed here."""

    code = "flower_missing"
    mend = "pip install 'chatfed[flower]' in a virtual environment of its own"


class OtherFlower(ChatfedError):
    """Flower is here, or at the coordinator, in a version that this one does not know."""

    code = "other_flower"
    mend = "pip install 'flwr==1.42.*' on the machine that the message names"


class LinkError(ChatfedError):
    """A coordinator cannot listen where it was told to."""

    code = "link_failed"
    mend = "give a free port, and a certificate and its key that can be read"


class AddressError(ChatfedError):
    """A coordinator's address or its authority's certificate cannot be used as they were given."""

    code = "address_unusable"
    mend = "give the address as HOST:PORT, and the authority's certificate that the coordinator sent"


class NotRegistered(ChatfedError):
    """The coordinator does not know a member's transport key."""

    code = "not_registered"
    mend = "send the coordinator this member's line of the roster, and join again once it is in"


class CertificateRefused(ChatfedError):
    """Whoever answers at the coordinator's address does not prove to be the coordinator."""

    code = "certificate_refused"
    mend = "ask the coordinator for its address and its authority's certificate anew"


class CoordinatorGone(Abandoned):
    """A coordinator has not answered for as long as its member waits."""

    code = "coordinator_gone"
    mend = "ask whoever coordinates whether the run is over; if it is not, join again with the same --home"


class ClockOff(ChatfedError):
    """A member's clock and its coordinator's differ by more than signed requests may."""

    code = "clock_off"
    mend = "set the clock of the machine that is wrong (timedatectl set-ntp true), then join again"


class NoMessage(ChatfedError):
    """What came over the line is no message of ours."""

    code = "no_message"
    mend = "see that member and coordinator run the same version of chatfed"

    def __init__(self) -> None:
        super().__init__("what came over the line is no message of chatfed's: see that both ends run the same version")


class TooMuch(ChatfedError):
    """A message is larger than any of its federation."""

    code = "too_much"
    mend = "see that member and coordinator have the same FEDERATION.toml and the same version of chatfed"

    def __init__(self, most: int) -> None:
        super().__init__(
            f"a message came over the line that is larger than any of this federation ({most:,} bytes): see that both "
            "ends have the same FEDERATION.toml and run the same version"
        )


def prepare_flower() -> None:
    """Has Flower send nothing home and log only its own faults; to be called before it is imported.

    Raises FlowerMissing or OtherFlower.
    """
    try:
        version = metadata.version("flwr")
    except metadata.PackageNotFoundError as error:
        raise FlowerMissing(
            "Flower (flwr) is not installed here, and it carries the messages of a federation: pip install "
            "'chatfed[flower]', in a virtual environment of its own, for it takes older web packages than the page."
        ) from error
    if version.split(".")[:2] != TAKEN.split("."):
        raise OtherFlower(f"Here is flwr {version}, and chatfed stands on flwr {TAKEN}: pip install 'flwr=={TAKEN}.*'")
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    logging.getLogger("flwr").addFilter(_is_fault)


def _is_fault(record: logging.LogRecord) -> bool:
    """That a member is late, refused or cut off is no news, and is logged as an error too."""
    said = record.getMessage()
    return "UnexpectedError" in said and "ClientDisconnect" not in said
