"""The recipe says what it means: keys, types, ranges, digest, and what contradicts what."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatfed.privacy.clipping import STYLES
from tests.training.processes import PLAIN
from training.plan.checks import check
from training.plan.cohorts import planned_participations
from training.plan.recipe import DEFAULT_RECIPE, PrivacySection, Recipe, load_recipe
from training.plan.settings import RecipeError, one_of
from training.plan.variants import without_noise


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path | None = None, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_default_file_names_every_key() -> None:
    tables = tomllib.loads(DEFAULT_RECIPE.read_text(encoding="utf-8"))
    declared = {name: set(table) for name, table in dataclasses.asdict(Recipe()).items()}
    assert {name: set(table) for name, table in tables.items()} == declared


@pytest.mark.parametrize("path", sorted(DEFAULT_RECIPE.parent.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_in_the_folder_loads_and_contradicts_nothing(path: Path) -> None:
    check(load_recipe(path), clients=400)


def test_the_tests_plain_recipe_is_what_code_alone_gives() -> None:
    assert load_recipe(PLAIN) == Recipe()
    check(Recipe(), clients=400)


@pytest.mark.parametrize("name", ["adapters", "local-noise"])
def test_a_recipe_for_plain_averages_takes_over_nothing_of_how_the_default_one_learns(name: str) -> None:
    federation, plain = load_recipe(DEFAULT_RECIPE.with_name(f"{name}.toml")).federation, Recipe().federation
    of_server = ("server_optimizer", "server_schedule", "warmup", "weight_decay")
    assert [getattr(federation, key) for key in of_server] == [getattr(plain, key) for key in of_server]


def test_a_file_need_only_name_what_differs(tmp_path: Path) -> None:
    default, recipe = load_recipe(), load_recipe(written(tmp_path, "[federation]\nrounds = 3\n"))
    assert recipe == dataclasses.replace(default, federation=dataclasses.replace(default.federation, rounds=3))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[federation]\nround = 3\n", ["federation.round", "did you mean rounds?"]),
        ("[federated]\n", ["[federated]", "did you mean federation?"]),
        ("[federation]\nclip_norm = 1.0\n", ["federation.clip_norm", "belongs in [privacy]"]),
        ("privacy = 3\n", ["privacy must be a table", "not 3"]),
        ("[federation]\nrounds = '3'\n", ["federation.rounds must be a whole number", 'not "3"']),
        ("[federation]\nrounds = 3.0\n", ["federation.rounds must be a whole number", "not 3.0"]),
        ("[federation]\nrounds = true\n", ["federation.rounds must be a whole number", "not true"]),
        ("[privacy]\ndelta = true\n", ["privacy.delta must be a number", "not true"]),
        ("[privacy]\nclip_norm = nan\n", ["privacy.clip_norm must be a finite number"]),
        ("[privacy]\nclip_norm = 0\n", ["privacy.clip_norm must be above 0"]),
        ("[privacy]\nsampling_rate = 1.5\n", ["privacy.sampling_rate must be above 0 and at most 1"]),
        ("[privacy]\nnoise = 'locl'\n", ["privacy.noise must be one of", '"local"', '"none"']),
        ("[data]\nskip_bad_lines = 1\n", ["data.skip_bad_lines must be true or false", "not 1"]),
        ("[model]\ntrainable = 'all'\n", ["model.trainable must be a list of strings"]),
        ("[model]\ntrainable = []\n", ["model.trainable must be non-empty"]),
        ("[model]\nheads = 7\nhidden = 192\n", ["model.hidden", "192", "14"]),
        ("[model]\nhidden = 3 4\n", ["not TOML", "line 2"]),
    ],
)
def test_a_bad_file_is_refused_in_one_line_that_names_it(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = written(tmp_path, text)
    message = refusal(path)
    for part in [str(path), *parts]:
        assert part in message


def test_a_missing_file_and_bytes_that_are_not_text_are_refused_by_name(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / "absent.toml")
    path = tmp_path / "latin.toml"
    path.write_bytes(b"[data]\nsource = '\xff'\n")
    assert "line 2 is not UTF-8" in refusal(path)


def test_overrides_take_shell_words_and_the_last_one_wins() -> None:
    recipe = load_recipe(
        None,
        [
            "federation.rounds=3",
            "federation.rounds=5",
            "privacy.target_epsilon=4",
            "data.source=my file.jsonl",
            "data.public=12",
            "data.skip_bad_lines=true",
            "model.trainable=*norm*, lm_head",
            'model.base="quoted"',
        ],
    )
    assert recipe.federation.rounds == 5
    assert recipe.privacy.target_epsilon == 4.0 and isinstance(recipe.privacy.target_epsilon, float)
    assert (recipe.data.source, recipe.data.public, recipe.data.skip_bad_lines) == ("my file.jsonl", "12", True)
    assert recipe.model.trainable == ("*norm*", "lm_head")
    assert recipe.model.base == "quoted"


def test_adapters_leave_no_say_to_trainable_and_targets_need_a_rank() -> None:
    recipe = load_recipe(None, ["model.lora_rank=4", "model.lora_targets=q_proj, v_proj"])
    assert (recipe.model.lora_rank, recipe.model.lora_targets) == (4, ("q_proj", "v_proj"))
    check(recipe, 400)
    with pytest.raises(RecipeError, match=r"leave model\.trainable out"):
        check(load_recipe(None, ["model.lora_rank=4", "model.trainable=all"]), 400)
    with pytest.raises(RecipeError, match=r"set model\.lora_rank above 0"):
        check(load_recipe(None, ["model.lora_targets=q_proj"]), 400)


def test_overrides_are_checked_together_not_one_by_one() -> None:
    recipe = load_recipe(None, ["model.hidden=256", "model.heads=8"])
    assert (recipe.model.hidden, recipe.model.heads) == (256, 8)


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("rounds=3", "section.key=value"),
        ("federation.rounds", "section.key=value"),
        ("federation.round=3", "did you mean rounds?"),
        ("federtion.rounds=3", "did you mean federation?"),
        ("federation.rounds=many", "a whole number"),
        ("federation.rounds=0", "1 or more"),
    ],
)
def test_a_bad_override_is_refused_by_name(override: str, part: str) -> None:
    message = refusal(None, override)
    assert f"--set {override}" in message and part in message


def test_a_section_built_in_code_is_checked_as_a_file_is() -> None:
    with pytest.raises(RecipeError, match=r"federation\.cohort"):
        dataclasses.replace(Recipe().federation, cohort=1)


def test_the_digest_is_blind_to_runtime_and_to_nothing_else() -> None:
    base = Recipe()
    for name, table in dataclasses.asdict(base).items():
        for key in table:
            changed = another(base, name, key)
            assert (changed.digest() == base.digest()) == (name == "runtime"), (name, key)


def another(recipe: Recipe, section: str, key: str) -> Recipe:
    """The recipe with one key changed to another allowed value."""
    table = getattr(recipe, section)
    old = getattr(table, key)
    choices: dict[str, Any] = {
        "train_on": "assistant",
        "overlap": "drop",
        "precision": "bfloat16",
        "cohort": 2,
        "clipping": "automatic",
        "noise": "none",
        "sampling": "uniform",
        "server_optimizer": "fedadam",
        "directions": 0.1,
        "ring_bits": 16,
        "server_schedule": "constant",
        "scheme": "threshold-he",
        "redact_language": "de",
        "hidden": 2 * recipe.model.hidden,
        "heads": 1,
        "trainable": ("lm_head",),
        "hold_out": 0.2,
        "stay": 0.2,
        "trim": 0.2,
        "canaries": 64,
        "commitment": "0f" * 32,
        "lora_targets": ("q_proj",),
    }
    if key in choices:
        new = choices[key]
    elif isinstance(old, bool):
        new = not old
    elif isinstance(old, str):
        new = old + "x"
    elif isinstance(old, tuple):
        new = (*old, "x")
    else:
        new = old * 0.9 if isinstance(old, float) and old else old + 1
    if key in ("unit", "identities"):  # one value is allowed today; the digest must bind it all the same
        changed = dataclasses.replace(table)
        object.__setattr__(changed, key, new)
    else:
        changed = dataclasses.replace(table, **{key: new})
    return dataclasses.replace(recipe, **{section: changed})


def test_the_digest_does_not_depend_on_how_a_number_is_written(tmp_path: Path) -> None:
    whole = load_recipe(written(tmp_path, "[privacy]\nclip_norm = 2\nbudget_epsilon = -0.0\n"))
    point = load_recipe(written(tmp_path, "[privacy]\nbudget_epsilon = 0\nclip_norm = 20e-1\n"))
    assert whole.digest() == point.digest()
    assert len(whole.digest()) == 32


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
sizes = st.floats(1e-30, 1e6)


@settings(deadline=None)
@given(
    source=texts,
    trainable=st.lists(texts, min_size=1),
    rate=sizes,
    rounds=st.integers(1, 10**9),
    skip=st.booleans(),
)
def test_to_toml_reads_back_to_the_same_recipe(
    tmp_path_factory: pytest.TempPathFactory, source: str, trainable: list[str], rate: float, rounds: int, skip: bool
) -> None:
    base = Recipe()
    recipe = dataclasses.replace(
        base,
        data=dataclasses.replace(base.data, source=source, skip_bad_lines=skip),
        model=dataclasses.replace(base.model, trainable=tuple(trainable)),
        pretrain=dataclasses.replace(base.pretrain, learning_rate=rate),
        federation=dataclasses.replace(base.federation, rounds=rounds),
    )
    path = tmp_path_factory.getbasetemp() / "round_trip.toml"
    path.write_bytes(recipe.to_toml().encode("utf-8"))
    again = load_recipe(path)
    assert again == recipe and again.digest() == recipe.digest()


def test_check_accepts_the_default_recipe_and_its_reference_run() -> None:
    default = load_recipe()
    check(default, clients=400)
    reference = without_noise(default)
    check(reference, clients=400)
    assert reference.privacy.noise == "none" and reference.federation == default.federation


@pytest.mark.parametrize(
    ("overrides", "clients", "parts"),
    [
        ([], 59, ["federation.cohort is 60", "59 clients"]),
        (["federation.max_participations=1"], 400, ["600 participations", "400"]),
        (["secagg.ring_bits=16"], 400, ["ring_bits = 16", "set secagg.ring_bits to 21"]),
        (["privacy.noise=none"], 400, ['privacy.noise is "none"', "privacy.target_epsilon to 0"]),
        (["privacy.noise=none", "privacy.target_epsilon=0", "privacy.noise_multiplier=1"], 400, ["noise_multiplier"]),
        (["privacy.target_epsilon=0"], 400, ["target_epsilon, or noise_multiplier"]),
        (["privacy.target_epsilon=0", "privacy.noise_multiplier=1"], 400, ["every client refuses"]),
        (["privacy.budget_epsilon=4"], 400, ["privacy.budget_epsilon = 4", "privacy.target_epsilon = 8"]),
    ],
)
def test_check_names_the_keys_that_contradict_each_other(overrides: list[str], clients: int, parts: list[str]) -> None:
    plain = ["federation.cohort=60", "federation.rounds=10", "privacy.target_epsilon=8", "privacy.budget_epsilon=0"]
    with pytest.raises(RecipeError) as caught:
        check(load_recipe(PLAIN, [*plain, "privacy.noise_multiplier=0", *overrides]), clients)
    for part in parts:
        assert part in str(caught.value)


def test_the_ring_width_that_check_suggests_is_accepted() -> None:
    check(load_recipe(PLAIN, ["secagg.ring_bits=16", "federation.cohort=7"]), clients=400)
    check(load_recipe(PLAIN, ["secagg.ring_bits=21", "federation.cohort=60"]), clients=400)


@settings(deadline=None)
@given(rounds=st.integers(1, 40), clients=st.integers(2, 60), data=st.data())
def test_shuffled_passes_ask_nobody_more_often_than_planned(rounds: int, clients: int, data: st.DataObject) -> None:
    cohort = data.draw(st.integers(2, clients))
    recipe = load_recipe(None, [f"federation.rounds={rounds}", f"federation.cohort={cohort}"])
    asked = [slot % clients for slot in range(rounds * cohort)]  # passes over one permutation, cut into cohorts
    most = max(asked.count(client) for client in set(asked))
    assert planned_participations(recipe, clients) == most


def test_uniform_sampling_plans_for_every_round_unless_limited() -> None:
    uniform = ["federation.sampling=uniform", "federation.rounds=7"]
    assert planned_participations(load_recipe(None, uniform), clients=400) == 7
    assert planned_participations(load_recipe(None, [*uniform, "federation.max_participations=3"]), clients=400) == 3


def test_a_recipe_takes_the_styles_of_clipping_that_there_are() -> None:
    (style,) = [each for each in dataclasses.fields(PrivacySection) if each.name == "clipping"]
    assert style.metadata["rule"].words == one_of(*STYLES).words
