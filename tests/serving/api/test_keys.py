"""API keys: what a file may be, who is who, and that no key is ever shown."""

from __future__ import annotations

import logging
import os
import secrets
from pathlib import Path

import pytest

from chatfed.cli import app
from chatfed.command_line import run_typer
from serving.api.errors import ApiError
from serving.api.keys import KeyFileError, Keys, Role, add_key, read_key_file

VISITORS, OPERATORS = "visitor-key-of-twenty-letters", "operator-key-of-twenty-letters"


def written(file: Path, text: str, mode: int = 0o600) -> Path:
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)
    return file


@pytest.fixture
def visitor(tmp_path: Path) -> Path:
    return written(tmp_path / "visitors", f"# of the house\n\n{VISITORS}\n")


@pytest.fixture
def operator(tmp_path: Path) -> Path:
    return written(tmp_path / "operators", f"{OPERATORS}\n{'x' * 20}\n")


def refused(keys: Keys, authorization: str) -> ApiError:
    with pytest.raises(ApiError) as error:
        keys.caller(authorization, "1.2.3.4")
    return error.value


def test_each_key_gives_the_role_of_its_file(visitor: Path, operator: Path) -> None:
    keys = Keys.read(visitor, operator)
    assert keys.caller(f"Bearer {VISITORS}", "1.2.3.4").role is Role.VISITOR
    for key in (OPERATORS, "x" * 20):
        assert keys.caller(f"bearer  {key} ", "1.2.3.4").role is Role.OPERATOR


def test_a_key_is_counted_by_itself_wherever_it_comes_from_and_is_no_part_of_its_name(visitor: Path) -> None:
    keys = Keys.read(visitor)
    names = {keys.caller(f"Bearer {VISITORS}", address).name for address in ("1.2.3.4", "5.6.7.8")}
    assert len(names) == 1 and VISITORS.encode() not in names.pop()


@pytest.mark.parametrize(
    "header", ["", f"Bearer {VISITORS}x", f"Bearer {VISITORS[:-1]}", VISITORS, f"Basic {VISITORS}", "Bearer"]
)
def test_without_a_right_key_nothing_is_answered(visitor: Path, header: str) -> None:
    error = refused(Keys.read(visitor), header)
    assert error.status == 401 and error.headers()["www-authenticate"] == "Bearer"
    assert error.reason == ("invalid_api_key" if header else "missing_api_key")
    assert VISITORS[:-1] not in str(error)


def test_where_visitors_need_no_key_any_header_or_none_is_a_visitors_and_counts_for_its_address(operator: Path) -> None:
    keys = Keys.read(None, operator)
    callers = [keys.caller(header, "1.2.3.4") for header in ("", "Bearer sk-anything", "Basic YTpi", "Bearer \udcff")]
    assert {each.role for each in callers} == {Role.VISITOR} and {each.name for each in callers} == {b"1.2.3.4"}
    assert keys.caller(f"Bearer {OPERATORS}", "1.2.3.4").role is Role.OPERATOR


def test_off_loopback_a_server_without_visitor_keys_answers_no_visitor(operator: Path) -> None:
    keys = Keys.read(None, operator, open_to_all=False)
    assert refused(keys, "").status == refused(keys, "Bearer sk-anything").status == 401
    assert keys.caller(f"Bearer {OPERATORS}", "").role is Role.OPERATOR
    assert "chatfed key new" in str(refused(Keys.read(open_to_all=False), ""))


def test_a_server_without_operator_keys_has_no_operator() -> None:
    keys = Keys.read()
    for header in ("", "Bearer ", "Bearer x"):
        assert keys.caller(header, "1.2.3.4").role is Role.VISITOR


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o644, 0o601])
def test_a_file_that_others_may_use_is_refused_with_the_mend(tmp_path: Path, mode: int) -> None:
    file = written(tmp_path / "keys", VISITORS, mode)
    with pytest.raises(KeyFileError, match=f"mode 0{mode:o}.*chmod 600 {file}"):
        read_key_file(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "holds no key"), ("# none\n\n", "holds no key"), ("short\n", "line 1 is no key"),
     (f"{VISITORS}\ntwo words of twenty letters\n", "line 2 is no key"), (f"{VISITORS}ü\n", "line 1 is no key")],
)  # fmt: skip
def test_a_file_that_holds_no_good_key_is_named_with_its_line_and_without_its_text(
    tmp_path: Path, text: str, said: str
) -> None:
    file = written(tmp_path / "keys", text)
    with pytest.raises(KeyFileError, match=said) as error:
        read_key_file(file)
    assert "chatfed key new" in str(error.value) and "two words" not in str(error.value)


def test_a_missing_file_and_one_that_is_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "raw").chmod(0o600)
    for name in ("none", "raw", "."):
        with pytest.raises(KeyFileError, match=r"chatfed key new|mode"):
            read_key_file(tmp_path / name)


def test_a_key_of_both_roles_is_refused(visitor: Path) -> None:
    with pytest.raises(KeyFileError, match="both a visitor's and the operator's"):
        Keys.read(visitor, visitor)


def test_every_key_is_compared_whole_in_constant_time(
    visitor: Path, operator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the count of comparisons: the same for the first key, the last, and none."""
    keys = Keys.read(visitor, operator)
    seen: list[int] = []
    compare = secrets.compare_digest

    def counted(a: bytes, b: bytes) -> bool:
        seen.append(len(a) + len(b))
        return compare(a, b)

    monkeypatch.setattr(secrets, "compare_digest", counted)
    counts = set()
    for key in (OPERATORS, "x" * 20):
        seen.clear()
        keys.caller(f"Bearer {key}", "")
        counts.add(tuple(seen))
    assert counts == {(64, 64)}  # two digests of 32 bytes, twice


def test_no_key_is_in_what_is_held_said_or_logged(
    visitor: Path, operator: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        keys = Keys.read(visitor, operator)
        caller = keys.caller(f"Bearer {OPERATORS}", "1.2.3.4")
        error = refused(keys, "Bearer wrong-key-of-twenty-letters")
    held = [repr(value) for value in (keys, vars(keys), caller, error, error.body(), caplog.text)]
    for key in (VISITORS, OPERATORS, "wrong-key-of-twenty-letters", "1.2.3.4"):
        assert not [each for each in held if key in each]
    assert repr(caller) == "Caller(role=<Role.OPERATOR: 'operator'>)"


def test_the_command_makes_a_file_of_keys_that_works_and_prints_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new.keys"
    mask = os.umask(0)
    try:
        assert run_typer(app, "chatfed", ["key", "new", str(file)]) == 0
    finally:
        os.umask(mask)
    assert run_typer(app, "chatfed", ["key", "new", str(file)]) == 0
    first, second = read_key_file(file)
    assert file.stat().st_mode & 0o777 == 0o600 and first != second and len(first) >= 43
    said = capsys.readouterr()
    assert first not in said.out + said.err and second not in said.out + said.err and str(file) in said.out
    assert Keys.read(None, file).caller(f"Bearer {second}", "").role is Role.OPERATOR


def test_a_key_is_added_to_no_file_that_others_read(tmp_path: Path) -> None:
    file = written(tmp_path / "keys", VISITORS + "\n", 0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        add_key(file)
    with pytest.raises(KeyFileError, match="name another file"):
        add_key(tmp_path / "no-such-folder" / "keys")
    assert file.read_text() == VISITORS + "\n"
