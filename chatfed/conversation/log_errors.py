"""What may be wrong with an encrypted log, each with its mend. Nothing is lost where one of these is raised."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chatfed.types import ChatfedError


class LogError(ChatfedError):
    """A log that its owner alone can search cannot be read or written."""

    code = "log_error"
    mend = "do what the sentence says, and then the same again"


class NoLog(LogError):
    """There is no log in that folder, or one already where a new one was to be made."""

    code = "no_log"
    mend = "make one with chatfed log new, or give the folder of one"


class WrongLogKey(LogError):
    """The key or the passphrase is not the one that the log was written under."""

    code = "wrong_log_key"
    mend = "give the key file or the passphrase of this log; without it nobody can open it"


class DamagedLog(LogError):
    """A file of the log is not as it was written; what is named cannot be opened, everything else is still there."""

    code = "damaged_log"
    mend = "make index and counters anew: chatfed log rotate; or restore both parts from a backup, then rotate at once"


class StaleLog(LogError):
    """One part of the log is older than the other, as after a backup of one of them alone."""

    code = "stale_log"
    mend = "restore the newest copies of both parts, then rotate before anything else: chatfed log rotate"


class LogBusy(LogError):
    """Another process is at work with the log."""

    code = "log_busy"
    mend = "wait for the other process, or stop it"


class LogDiskError(LogError):
    """The disk refused; what was acknowledged before is still there."""

    code = "log_disk_error"
    mend = "make room or give the rights, then do it again"


class BadMessage(LogError):
    """A message, or what is searched for, is not what a log takes."""

    code = "bad_log_message"
    mend = "give a text of 1 to 1,048,576 bytes in UTF-8, and at least one word to search for"


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Errors of disk and database about the file `path`, as a person can use them."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise
    except UnicodeDecodeError as error:  # of what SQLite says about damage
        raise damaged(path, "it holds what was never written") from error
    except sqlite3.Error as error:
        number = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if number in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or _other_tables(error, number):
            raise damaged(path, str(error)) from error
        raise LogDiskError(f"The disk refused {path} ({error}): mend it, then do it again.", param=str(path)) from error
    except OSError as error:
        why = error.strerror or os.strerror(error.errno or errno.EIO)
        raise LogDiskError(f"The disk refused {path} ({why}): mend it, then do it again.", param=str(path)) from error


def _other_tables(error: sqlite3.Error, number: int) -> bool:
    """Whether a table is not there that this build writes."""
    return isinstance(error, sqlite3.OperationalError) and number == sqlite3.SQLITE_ERROR


def damaged(path: Path, what: str) -> DamagedLog:
    """The error for a file that is not as it was written."""
    said = f"{path} is damaged ({what}): run chatfed log rotate, or restore both parts and then rotate."
    return DamagedLog(said, param=str(path))
