"""A run on disk: what was run, how far it came, what it cost and what came out. Knows no client and no protocol."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from chatfed.types import ChatfedError, ClientId

from ..durable import DiskError, alone, from_json, read_if_there, sweep, to_json, write_atomically
from ..parties.aggregator import ServerState
from ..plan.recipe import Recipe, load_recipe
from ..plan.repeats import Repeats

OUTPUTS = (
    *("recipe.toml", "metrics.jsonl", "privacy.json", "summary.json", "quiz.json", "counted.json", "report.html"),
    *("model", "reference", "counted", "canaries", "audit.json", "audit.html", "audit.sig"),
)


class RunError(ChatfedError):
    """A run's folder cannot be used: it holds another run or none, or a file of it is damaged."""

    code = "bad_run"
    mend = "name the folder of a run for chatfed resume, and another for a new run"


@dataclass(frozen=True)
class Begun:
    """What a run set out to do."""

    recipe: Recipe
    run: bytes  # 16 bytes, its id
    reference: bool = False  # whether the same run without noise is wanted beside it
    ceiling: float = 0.0  # passes over the private text of the ceiling that is wanted beside it; 0: none
    apart: bool = False  # its clients are members of a federation, on machines of their own


@dataclass(frozen=True)
class Checkpoint:
    """The server after a finished round."""

    state: ServerState
    seconds: dict[str, float]
    metrics: list[dict[str, Any]]
    base: bytes  # digest of the base model that the weights belong to


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run and its durable state."""

    path: Path

    @property
    def state(self) -> Path:
        """What is needed to go on; not handed out."""
        return self.path / "state"

    @property
    def homes(self) -> Path:
        """What simulated clients keep, ledgers included."""
        return self.path / "state" / "clients"

    @property
    def roster(self) -> Path:
        """Simulated clients' public keys, where the recipe pins identities."""
        return self.path / "state" / "roster"

    @property
    def editions(self) -> Path:
        """Of a federation, the file of each edition that rounds were run by."""
        return self.path / "state" / "editions"

    @property
    def ceiling(self) -> Path:
        """What was trained without privacy, to compare with; never handed out."""
        return self.path / "ceiling"

    @property
    def canaries(self) -> Path:
        """Where the run has canaries, what anyone needs to look for them again but the seed."""
        return self.path / "canaries"

    @property
    def metrics(self) -> Path:
        """One line a finished round."""
        return self.path / "metrics.jsonl"

    def begin(self, recipe: Recipe, reference: bool = False, ceiling: float = 0.0, run: bytes = b"") -> Begun:
        """Writes down what a run sets out to do, and draws its id; run: a federation has one already."""
        begun = Begun(recipe, run or secrets.token_bytes(16), reference, ceiling, apart=bool(run))
        self._keep(begun)
        write_atomically(self.path / "recipe.toml", recipe.to_toml().encode(), 0o644)  # last: its presence says "begun"
        return begun

    def begun(self) -> Begun:
        """What a run to go on with set out to do. Raises RunError when there is none here, or another recipe."""
        path = self.path / "recipe.toml"
        if not path.is_file():
            raise RunError(
                f"{self.path} holds no run to resume (no recipe.toml); start one with chatfed train.",
                param=str(self.path),
            )
        try:
            about = from_json((self.state / "run.json").read_text())
            run, digests, reference = bytes.fromhex(about["run"]), about["recipes"], bool(about["reference"])
            ceiling = float(about.get("ceiling", 0))  # a run of an earlier build wanted none
            apart = bool(about.get("apart", False))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{self.state / 'run.json'} cannot be read ({error}); this run cannot be resumed.",
                param=str(self.state / "run.json"),
            ) from None
        recipe = load_recipe(path)
        if recipe.digest().hex() not in digests:
            raise RunError(
                f"{path} is not the recipe that this run began with: bring that back (only [runtime] may change), "
                f"or start a new run.",
                param=str(path),
            )
        return Begun(recipe, run, reference, ceiling, apart)

    def refuse_an_earlier_build(self) -> None:
        """Raises RunError where clients kept files, as they did before they had stores: nobody would look at them."""
        earlier = [*self.homes.glob("*/ledger.json"), *self.homes.glob("*/update.bin"), *self.homes.glob("*/round.bin")]
        if earlier:
            raise RunError(
                f"{self.path} was begun by an earlier build of chatfed, whose clients kept files ({earlier[0]}): go on "
                "with that build, or start a new run.",
                param=str(self.path),
            )

    def want(self, begun: Begun, reference: bool, ceiling: float) -> Begun:
        """Remembers, over interruptions too, what is wanted beside the run, and what was before."""
        wanted = replace(begun, reference=reference or begun.reference, ceiling=ceiling or begun.ceiling)
        if wanted != begun:
            self._keep(wanted)
        return wanted

    def settle_recipe(self, recipe: Recipe) -> None:
        """Writes down the recipe as the data completes it.

        Killed in between, a run may go on with either: what it set out to do is completed in the same way again.
        """
        begun = self.begun()
        if recipe.digest() != begun.recipe.digest():
            self._keep(begun, recipe)
            write_atomically(self.path / "recipe.toml", recipe.to_toml().encode(), 0o644)

    def _keep(self, begun: Begun, completed: Recipe | None = None) -> None:
        recipes = [each.digest().hex() for each in (begun.recipe, completed) if each is not None]
        beside = {"reference": begun.reference, "ceiling": begun.ceiling, "apart": begun.apart}
        about = {"run": begun.run.hex(), "recipes": recipes, **beside}
        write_atomically(self.state / "run.json", to_json(about).encode(), 0o644)

    def sweep(self) -> None:
        """Removes what a killed process left half-written. For the holder of the run's lock alone."""
        sweep(self.path, *OUTPUTS)
        for folder in (self.state, self.ceiling, *self.homes.glob("*")):
            sweep(folder)

    def checkpoint(
        self, state: ServerState, seconds: dict[str, float], metrics: list[dict[str, Any]], base: bytes
    ) -> None:
        """All that a resumed run needs of the server, in one file; then the log of rounds, rewritten from it."""
        buffer = io.BytesIO()
        about = to_json({"seconds": seconds, "metrics": metrics, "base": base.hex()})
        np.savez(
            buffer,
            round=state.round,
            weights=state.weights,
            momentum=state.momentum,
            variance=state.variance,
            clip_norm=state.clip_norm,
            estimates=np.array(state.estimates, np.float32),
            about=np.frombuffer(about.encode(), np.uint8),
        )
        write_atomically(self.state / "server.npz", buffer.getvalue(), 0o644)
        self.write_metrics(metrics)

    def write_metrics(self, metrics: list[dict[str, Any]]) -> None:
        """Replaces metrics.jsonl."""
        lines = "".join(to_json(row) + "\n" for row in metrics)
        write_atomically(self.metrics, lines.encode(), 0o644)

    def latest(self) -> Checkpoint | None:
        """The last checkpoint, or None before the first."""
        path = self.state / "server.npz"
        if not path.exists():
            return None
        try:
            with np.load(path) as stored:
                state = ServerState(
                    int(stored["round"]),
                    stored["weights"],
                    stored["momentum"],
                    stored["variance"],
                    float(stored["clip_norm"]),
                    tuple(stored["estimates"]),
                )
                about = from_json(stored["about"].tobytes())
            if not np.isfinite(state.weights).all():
                raise ValueError("its model holds numbers that are not finite")
            return Checkpoint(state, about["seconds"], about["metrics"], bytes.fromhex(about["base"]))
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise RunError(
                f"{path} cannot be read ({error}); restore it from a backup or start a new run.",
                param=str(path),
            ) from None

    def keep_charges(self, charges: Mapping[ClientId, int]) -> None:
        """Says what clients' ledgers held after a round: a ledger that holds less later was lost or set back."""
        write_atomically(self.state / "charges.json", to_json(charges).encode(), 0o644)

    def charges(self) -> dict[ClientId, int]:
        """Charges by client as last recorded; none before the first round."""
        return from_json(read_if_there(self.state / "charges.json") or b"{}")  # type: ignore[no-any-return]

    @property
    def asked(self) -> bool:
        """Whether clients may have been asked for anything: then their ledgers must not be lost."""
        return any((self.state / name).exists() for name in ("server.npz", "charges.json"))

    def settle(self, round_index: int, under: bytes, survivors: Sequence[ClientId]) -> None:
        """Says for whom clients will be asked to unmask: in a later attempt they answer for no others.

        under: digest of what they have agreed to; under another one it is another release.
        """
        content = {"round": round_index, "under": under.hex(), "survivors": list(survivors)}
        write_atomically(self.state / "survivors.json", to_json(content).encode(), 0o644)

    def settled(self, round_index: int, under: bytes) -> list[ClientId] | None:
        """The survivors of an earlier attempt at this round, which clients may have answered, or None."""
        stored = from_json(read_if_there(self.state / "survivors.json") or b"{}")
        same = (stored.get("round"), stored.get("under", under.hex())) == (round_index, under.hex())
        return stored["survivors"] if same else None

    def keep_given(self, run: bytes, round_index: int, survivors: Sequence[ClientId]) -> None:
        """Says that these gave to a sum of that round, later than those before: each has a charge for it.

        run: what the sum calls its run. The same round again, in another attempt or edition, is one.
        """
        stored = from_json(read_if_there(self.state / "given.json") or b"{}")
        known = stored.setdefault(run.hex(), {})
        for name in survivors:
            rounds, last = known.get(name, (0, -1))
            known[name] = (rounds + (round_index > last), max(last, round_index))
        write_atomically(self.state / "given.json", to_json(stored).encode(), 0o644)

    def given(self, run: bytes, cohort: Iterable[ClientId]) -> tuple[int, ...]:
        """To sums of how many rounds each of `cohort` gave, as far as is on record."""
        known = from_json(read_if_there(self.state / "given.json") or b"{}").get(run.hex(), {})
        return tuple(known.get(name, (0, -1))[0] for name in cohort)

    def keep_prepared(self, base: str, *, dealt: bool) -> None:
        """Says that data and base are ready on disk: a resumed run takes them from here. dealt: clients are made up."""
        write_atomically(self.state / "prepared.json", to_json({"base": base, "dealt": dealt}).encode(), 0o644)

    def dealt(self) -> bool:
        """Whether the run's clients are made up: the data named none."""
        return bool(from_json(read_if_there(self.state / "prepared.json") or b"{}").get("dealt"))

    def prepared(self) -> str | None:
        """The base model of a run whose data is ready, or None."""
        raw = read_if_there(self.state / "prepared.json")
        return None if raw is None else str(from_json(raw)["base"])

    def keep_repeats(self, repeats: Repeats) -> None:
        """Says what stood more than once in the data: the claim needs it at the end."""
        write_atomically(self.state / "repeats.json", to_json(repeats.to_json()).encode(), 0o644)

    def repeats(self) -> Repeats | None:
        """What stood more than once in the data; None when nobody has looked yet."""
        raw = read_if_there(self.state / "repeats.json")
        return None if raw is None else Repeats.from_json(from_json(raw))

    def read_json(self, name: str) -> dict[str, Any]:
        """A file of the folder."""
        content: dict[str, Any] = from_json((self.path / name).read_text(encoding="utf-8"))
        return content

    def read_metrics(self) -> list[dict[str, Any]]:
        """All lines of metrics.jsonl."""
        return [from_json(line) for line in self.metrics.read_text(encoding="utf-8").splitlines()]

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Replaces a file of the folder."""
        write_atomically(self.path / name, (to_json(content, indent=2) + "\n").encode(), 0o644)


def refuse_a_federation(begun: Begun) -> None:
    """Raises RunError for a run whose clients are on machines of their own: here nobody has their dialogues."""
    if begun.apart:
        raise RunError("This is the run of a federation: go on with chatfed coordinate and its FEDERATION.toml.")


@contextmanager
def sole_use(path: Path) -> Iterator[None]:
    """Holds the lock beside the run folder `path`, so that no other process runs in it, or moves it aside, meanwhile.

    Raises Busy when another does. The lock is outside: a folder that is moved aside would take it along.
    """
    whole = path.resolve()
    with ExitStack() as held:
        try:
            busy = f"Another process is at work on {path}; wait for it or stop it."
            held.enter_context(alone(whole.parent / f".{whole.name}.lock", busy))
        except OSError as error:
            raise RunError(
                f"{path} cannot be used ({error.strerror}): mend that or choose another.", param=str(path)
            ) from None
        yield


@contextmanager
def fresh_run(path: Path, replace: bool) -> Iterator[RunFolder]:
    """An unused run folder, for the holder of its lock.

    An earlier run there is an error, or with `replace` moved aside; nothing is deleted.

    A run that is given up before any client is asked leaves no trace, and what was moved aside is back.
    """
    aside = _moved_aside(path, replace)
    folder = RunFolder(path)
    try:
        yield folder
    except ChatfedError as error:
        begun = (path / "recipe.toml").exists()
        if (isinstance(error, DiskError) and begun) or folder.asked:
            raise
        shutil.rmtree(path, ignore_errors=True)
        if aside:
            os.replace(aside, path)
        if isinstance(error, DiskError):
            reason = getattr(error.__cause__, "strerror", None) or error
            raise RunError(
                f"{path} cannot be written ({reason}): mend that and start again.", param=str(path)
            ) from None
        raise


def _moved_aside(path: Path, replace: bool) -> Path | None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return None
    if not replace:
        raise RunError(
            f"{path} already holds something: go on with chatfed resume {path}, move it aside with --replace, or "
            f"choose another --out.",
            param=str(path),
        )
    number = 1
    while (aside := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    os.replace(path, aside)
    return aside
