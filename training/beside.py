"""What a run is compared with, where that is asked for: itself without noise, and the ceiling of what could be learned.

No claim covers either: their models stay in the run's folder, and their figures out of the model's card and the page.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from chatfed.audit.gain import learnable_gain

from .base.ceiling import ceiling_job, trained_ceiling
from .base.evaluation import Scores
from .base.pretrain import about_pretraining
from .engines.simulation import simulation
from .federated import Ended, federate
from .plan.variants import without_noise
from .run.display import Display
from .run.prepared import Prepared
from .run.release import write_page
from .run.run_folder import Begun, RunFolder


def run_compared(begun: Begun, folder: RunFolder, display: Display) -> dict[str, Any]:
    """The run to its end, then what it is to be compared with; returns its summary. Raises ChatfedError."""
    ended = federate(begun.recipe, folder, begun.run, display)
    if begun.reference:
        ended.summary["reference"] = _without_noise(folder, display)
        _tell(folder, ended)
    if begun.ceiling:
        ended.summary["ceiling"] = _ceiling(ended, begun.ceiling, display)
        _tell(folder, ended)
    return ended.summary


def _tell(folder: RunFolder, ended: Ended) -> None:
    """The summary and its report, with what was found since they were published."""
    seconds = ended.clock.seconds
    ended.summary["seconds"] = {**seconds, "total": sum(seconds.values())}
    folder.write_json("summary.json", ended.summary)
    write_page(folder, ended.summary, folder.read_json("privacy.json"), folder.read_metrics())


def _without_noise(folder: RunFolder, display: Display) -> dict[str, Any]:
    """What the same run without noise learned, in `without-noise/` of the run's folder."""
    display.say("The same run without noise, for comparison only: its model has no guarantee.")
    recipe = folder.begun().recipe  # as the data has completed it
    beside = RunFolder(folder.path / "without-noise")
    bare = without_noise(replace(recipe, runtime=replace(recipe.runtime, out=str(beside.path))))
    beside.sweep()
    bare_run = beside.begun() if (beside.path / "recipe.toml").exists() else beside.begin(bare)
    found: dict[str, Any] = federate(bare, beside, bare_run.run, display).summary["after"]
    return found


def _ceiling(ended: Ended, passes: float, display: Display) -> dict[str, Any]:
    """What the base learned of all private dialogues without privacy, and how much of that the run learned."""
    prepared = ended.prepared
    display.say(
        "Central training without privacy on all private dialogues, for comparison only: its model may repeat what "
        "anyone said, and is never to be shared."
    )
    with ended.clock.phase("ceiling"):
        made = _trained(prepared, passes, display)
        scores = _measured(prepared, made)
    gain = learnable_gain(ended.before.sums, ended.after.sums, scores.sums, ended.owners)
    about = about_pretraining(made) or {}
    return {**scores.result().to_json(), "passes": passes, "training": about, "gain": gain.to_json()}


def _trained(prepared: Prepared, passes: float, display: Display) -> Path:
    recipe, folder = prepared.plan.recipe, prepared.folder
    folder.ceiling.mkdir(mode=0o700, exist_ok=True)
    job = ceiling_job(recipe, prepared.base, folder.state / "private", passes, folder.ceiling / "model")
    with display.phase("the ceiling") as show:
        return trained_ceiling(job, recipe.runtime.workers, show)


def _measured(prepared: Prepared, model: Path) -> Scores:
    """What held-out dialogues say of a whole model, by the run's own workers."""
    with simulation(replace(prepared.workplace(), base=str(model))) as clients:
        _, weights, _ = clients.facts()
        return clients.evaluate(weights, prepared.held_out)
