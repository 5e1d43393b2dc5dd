"""What the members of a federation are handed, and what its coordinator keeps: made whole or not at all.

The first is a folder of FEDERATION.toml and base/, with no secret in it. The second, of mode 0700, has an authority's
key and a server's, which never leave it; or links to a certificate and key of one's own, which may be renewed there.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from chatfed.model.bases import find_base
from chatfed.model.checkpoint import base_digest

from ..base.corpus import public_text
from ..durable import write_atomically
from ..parties import certificates
from ..parties.identity import members_in
from ..plan.federation import DIGEST_BYTES, RUN_BYTES, Federation, FederationError, host_and_port
from ..plan.in_words import plan_in_words
from ..plan.recipe import Recipe
from .display import Display
from .memory import Peak
from .public_base import make_base, refuse_unfit_base

FILE, BASE = "FEDERATION.toml", "base"


@dataclass(frozen=True)
class Credentials:
    """A certificate of one's own: three files in PEM."""

    certificate: Path
    key: Path
    authority: Path

    @classmethod
    def given(cls, certificate: Path | None, key: Path | None, authority: Path | None) -> Credentials | None:
        """None where nothing is given. Raises FederationError where something is and something is missing."""
        if certificate and key and authority:
            return cls(certificate, key, authority)
        if certificate or key or authority:
            raise FederationError("--certificate, --key and --authority go together: give all three, or none.")
        return None


@dataclass(frozen=True)
class Invitation:
    """What is to be made, and where."""

    folder: Path  # that members are handed
    secrets: Path  # of the coordinator
    name: str
    address: str
    lines: Path  # of members
    own: Credentials | None = None

    def make(self, recipe: Recipe, display: Display) -> Federation:
        """Makes both folders. Raises ChatfedError, and then neither is there."""
        for folder in (self.folder, self.secrets):
            if folder.exists():
                raise FederationError(f"{folder} exists, and is never overwritten: name another folder.")
        members = members_in(self.lines)
        with _scratch(self.folder) as public, _scratch(self.secrets) as secret:
            authority, nothing = self._authority(secret), bytes(DIGEST_BYTES)
            draft = Federation(self.name, os.urandom(RUN_BYTES), 1, self.address, authority, nothing, recipe, members)
            display.say(plan_in_words(draft.plan()))  # which is refused before a base is made, if it is
            made = replace(draft, base=self._base(recipe, public / BASE, display))
            write_atomically(public / FILE, made.to_toml().encode(), 0o644)
            self._put(public, secret)
        return made

    def _base(self, recipe: Recipe, target: Path, display: Display) -> bytes:
        """A copy of the recipe's base at `target`; its digest."""
        cache = Path(recipe.runtime.cache)
        given = find_base(recipe.model.base, cache)
        if given and not Path(given).is_dir():
            raise FederationError(
                f"{given} is no folder here, and members are handed one: bring it with the hub's own client first, and "
                "name its folder."
            )
        refuse_unfit_base(recipe, given, display)
        notes: list[str] = []
        source = Path(given) if given else make_base(recipe, public_text(recipe.data, cache, notes), display, Peak())
        for note in notes:
            display.say(note)
        copy_base(source, target)
        return base_digest(target)

    def _authority(self, secret: Path) -> str:
        """PEM, of an authority that the coordinator's certificate comes from."""
        host, _ = host_and_port(self.address)
        if self.own:
            authority = certificates.read_authority(self.own.authority)
            certificates.check_certificate(self.own.certificate, authority, host)
            certificates.check_key(self.own.certificate, self.own.key)
            (secret / certificates.SERVER).symlink_to(self.own.certificate.absolute())
            (secret / certificates.SERVER_KEY).symlink_to(self.own.key.absolute())
            return authority
        certificates.make_authority(secret)
        certificates.make_certificate(secret, host)
        return certificates.read_authority(secret / certificates.AUTHORITY)

    def _put(self, public: Path, secret: Path) -> None:
        """Both in their places, or neither; secrets first, since whoever has the other folder needs them."""
        os.chmod(public, 0o755)  # noqa: S103  # to be handed out
        os.rename(secret, self.secrets)
        try:
            os.rename(public, self.folder)
        except OSError:
            shutil.rmtree(self.secrets)
            raise


def copy_base(source: Path, target: Path) -> None:
    """The files of a model folder but hidden ones; card and licence too, folders in it not."""
    target.mkdir()
    for path in source.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copyfile(path, target / path.name)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder (mode 0700) beside `folder`, gone at the end unless it was put there. An OSError becomes one line."""
    scratch = ""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent)
        yield Path(scratch)
    except OSError as error:
        raise FederationError(
            f"{folder} cannot be made ({error.strerror or error}): mend that, or name another."
        ) from None
    finally:
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)
