"""What coordinator and member make of what they are given, and of what they leave with."""

from __future__ import annotations

import pytest
import typer

from chatfed.command_line import GONE, STOPPED
from training.cli import in_one_line
from training.coordinate import everywhere
from training.durable import Stopped
from training.engines.flower import CoordinatorGone
from training.plan.federation import host_and_port


@pytest.mark.parametrize(
    ("address", "all_addresses"),
    [("fed.example:9443", "0.0.0.0"), ("192.0.2.7:9443", "0.0.0.0"), ("[2001:db8::7]:9443", "::"), ("[::1]:1", "::")],  # noqa: S104
)
def test_whoever_is_reached_by_ipv6_listens_there(address: str, all_addresses: str) -> None:
    assert everywhere(host_and_port(address)[0]) == all_addresses


@pytest.mark.parametrize(("error", "code"), [(CoordinatorGone, GONE), (Stopped, STOPPED)])
def test_a_coordinator_that_is_gone_has_an_exit_code_of_its_own(
    error: type[Stopped], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise error("nobody answers.")

    with pytest.raises(typer.Exit) as left:
        in_one_line(fails)
    assert left.value.exit_code == code and capsys.readouterr().err == "error: nobody answers.\n"
