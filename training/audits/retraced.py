"""What anyone can do again of a run's canaries who has its folder, once the seed is open. Believes nothing signed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chatfed.audit.canary import coins

from ..base.canaries import ROUNDS
from ..durable import from_json, read_if_there
from ..plan.plan import resolve
from ..plan.recipe import load_recipe
from ..run.canaries import opened
from ..run.run_folder import RunError, RunFolder
from .audited import Audited
from .guesses import look, told
from .known import weights_before


def verify(path: Path) -> Iterator[tuple[bool | None, str]]:
    """Each thing that was looked at and whether it is right; None: it could not be looked at here.

    That the opened seed is the one that was committed to, what the sums alone show beside what audit.json says of that,
    and, where the server's `state/` is there too, that the kept sums give the published model. Raises RunError.
    """
    folder = RunFolder(path)
    recipe = folder.begun().recipe if folder.state.exists() else load_recipe(path / "recipe.toml")
    privacy = folder.read_json("privacy.json")
    planted = opened(folder, recipe)
    yield True, f"canaries: the seed opens the commitment {recipe.audit.commitment[:16]} of the recipe"
    truth, plan = coins(planted.seed, ROUNDS, planted.count), resolve(recipe, int(privacy["clients"]))
    alone = list(look(folder, plan, planted, lambda text: None))
    product = told(alone, truth, float(privacy["delta"] or recipe.privacy.delta))[0]
    said = f"{product.correct} of {product.guesses} guesses right from the sums alone"
    yield _as_signed(path, product.correct, product.epsilon), f"canaries: {said}, epsilon >= {product.epsilon:.3f}"
    yield _sums_as_signed(folder), "canaries: the sums are those that the audit looked at"
    if not folder.state.exists():
        yield None, "canaries: whether the sums give the published model is not seen without the server's state"
        return
    _retrace(Audited.open(path))
    yield True, "canaries: the rounds, done again from the sums, end at the published model"


def sums_digest(folder: RunFolder) -> str:
    """SHA-256, in hex, of all that a bound from the sums rests on: the seed and the kept sums, by name."""
    digest = hashlib.sha256((folder.canaries / "seed").read_bytes())
    for each in sorted((folder.canaries / "sums").glob("*.npz")):
        digest.update(each.name.encode() + hashlib.sha256(each.read_bytes()).digest())
    return digest.hexdigest()


def _signed(path: Path) -> dict[str, Any] | None:
    """What audit.json says of canaries; None where it says nothing."""
    audit = from_json(read_if_there(path / "audit.json") or b"{}")
    part: dict[str, Any] | None = audit.get("parts", {}).get("canaries")
    return part


def _as_signed(path: Path, correct: int, epsilon: float) -> bool | None:
    said = (_signed(path) or {}).get("without_knowing_dialogues")
    if said is None:
        return None
    same = math.isclose(said["epsilon_lower_bound_product_channel"], epsilon, abs_tol=1e-6)
    return bool(said["correct"] == correct and same)


def _sums_as_signed(folder: RunFolder) -> bool | None:
    said = (_signed(folder.path) or {}).get("sums_sha256")
    return None if said is None else bool(said == sums_digest(folder))


def _retrace(run: Audited) -> None:
    """Raises RunError where the server's steps on the kept sums end at other weights than those published."""
    learner = run.learner()
    learner.space.load(weights_before(run, run.plan.agreement.schedule.rounds))
    ours = learner.model.state_dict()
    for name, value in run.model()[0].state_dict().items():
        if not bool((ours[name] == value).all()):
            raise RunError(f"the kept sums do not give the published model: {name} differs.", param=name)
