"""Recipes can be run, and their page says of each what its file says."""

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import peer_values
import pytest
import yaml

from adcli import ModelSpec
from adcli._artefacts.parsing import parse_yaml
from adcli._plugins.registry import registry
from adcli.data.references import several_categories
from adcli.metrics.table import METRICS
from adcli.nn.backbones import sketch_backbone
from adcli.runs.settings import FIELDS, TrainSettings

ROOT = Path(__file__).parent.parent
RECIPES = sorted((ROOT / "docs/recipes").glob("*.yaml"))
PAGE = ROOT / "docs/recipes.md"
PEER = ROOT / "docs/recipes/anomalib-2026.yaml"
KEYS = {f"{level}.{metric.key}" for metric in METRICS for level in metric.levels}
STATED = ("metric", "value", "tolerance", "category")
"""What a value says beside the factors of the runs that it is of."""

Recipe = dict[str, Any]


def recipe_id(path: Path) -> str:
    return path.stem


@pytest.fixture(params=RECIPES, ids=recipe_id)
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return read_recipe(request.param)


def read_recipe(path: Path) -> Recipe:
    loaded = parse_yaml(path.read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def runs_of(recipe: Recipe) -> Iterator[dict[str, Any]]:
    """Yield the settings of each run, but for its category."""
    for grid in recipe["grids"]:
        models, backbones = (str(grid.get(name, "")).split(",") for name in ("model", "backbone"))
        for model, backbone, seed in product(models, backbones, seeds_of(grid["seed"])):
            options = grid.get("options", {}) | ({"backbone": backbone} if backbone else {})
            settings = {key: value for key, value in grid.items() if key != "backbone"}
            yield settings | {"model": model, "seed": seed, "options": options}


def seeds_of(text: object) -> list[int]:
    first, dots, last = str(text).partition("..")
    return [*range(int(first), int(last) + 1)] if dots else [int(part) for part in first.split(",")]


def spec_of(run: dict[str, Any]) -> ModelSpec:
    return registry().models[run["model"]].spec


def categories_of(run: dict[str, Any]) -> list[str]:
    """Return the categories of a run's data set that it is made for; none of what the command line names."""
    several = several_categories(run.get("data"))
    if several:
        return list(several.names)
    return [run["data"].partition(":")[2]] if "data" in run else []


def is_of(value: dict[str, Any], run: dict[str, Any]) -> bool:
    """Return whether a published value speaks of a run."""
    factors = {**run, **run["options"]}
    category = value.get("category")
    return all(str(factors.get(key)) == str(named) for key, named in value.items() if key not in STATED) and (
        category in (None, "mean") or category in categories_of(run)
    )


def test_there_is_a_recipe_for_each_model() -> None:
    covered = {run["model"] for path in RECIPES if path != PEER for run in runs_of(read_recipe(path))}
    assert covered == {*registry().models}
    assert {run["model"] for run in runs_of(read_recipe(PEER))} == covered


def test_its_settings_and_options_are_those_of_adcli(recipe: Recipe) -> None:
    assert set(recipe) == {"about", "ran", "grids", "published"}
    for grid in recipe["grids"]:
        assert set(grid) <= {*FIELDS, "backbone"}
    for run in runs_of(recipe):
        settings = TrainSettings.parse({key: str(value) if key != "options" else value for key, value in run.items()})
        spec_of(run).options.parse(settings.options)
        # Published values are of models that saw all good images.
        assert settings.calibration == "none"


def test_its_backbones_are_offered_and_have_the_layers(recipe: Recipe) -> None:
    asked = {run["options"]["backbone"]: run for run in runs_of(recipe) if "backbone" in run["options"]}
    for name, run in asked.items():
        layers = spec_of(run).options.parse(run["options"]).layers
        assert max(layers) <= len(sketch_backbone(name).channels)


def test_its_data_are_a_set_and_categories_that_adcli_offers_or_given_by_the_command(recipe: Recipe) -> None:
    for run in runs_of(recipe):
        if "data" not in run:
            continue
        offered = registry().datasets[run["data"].partition(":")[0]].spec
        assert {*categories_of(run)} <= {*offered.categories}
        assert categories_of(run)


def test_no_path_of_a_machine_stands_in_it(recipe: Recipe) -> None:
    assert not re.search(r"(?<![\w.])/\w+/\w", yaml.safe_dump(recipe))


def test_each_published_value_is_a_share_of_a_known_metric_and_of_runs_that_it_makes(recipe: Recipe) -> None:
    published = recipe["published"]
    assert published["source"].strip()
    assert published["values"]
    runs = list(runs_of(recipe))
    for value in published["values"]:
        assert value["metric"] in KEYS
        assert 0 <= value["value"] <= 1
        assert 0 < value.get("tolerance", 1) <= 1
        assert any(is_of(value, run) for run in runs), value
    stated = [tuple(sorted((key, str(item)) for key, item in v.items() if key != "value")) for v in published["values"]]
    assert len(stated) == len({*stated})


def test_a_mean_is_that_of_its_categories_wherever_all_are_listed(recipe: Recipe) -> None:
    values = recipe["published"]["values"]

    def key(value: dict[str, Any]) -> tuple[tuple[str, str], ...]:
        return tuple((name, str(item)) for name, item in sorted(value.items()) if name not in ("category", "value"))

    for mean in (value for value in values if value.get("category") == "mean"):
        listed = [value["value"] for value in values if key(value) == key(mean) and value is not mean]
        if len(listed) == 15:
            # Two sources of one method differ by this much, and a slip in one of fifteen numbers mostly by more.
            assert sum(listed) / 15 == pytest.approx(mean["value"], abs=0.002)


def test_the_values_of_the_peer_are_those_of_its_recorded_runs() -> None:
    rows = peer_values.read_peer((ROOT / "benchmarks").glob("*results.jsonl"), "bottle", "embedded")
    assert read_recipe(PEER)["published"]["values"] == peer_values.published_values(rows)


def test_the_page_lists_each_recipe_with_its_mean_and_whether_it_ran() -> None:
    rows = re.findall(r"^\| \[`([\w-]+)`\]\(recipes/\1\.yaml\) \|.*\| (.*) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    assert [name for name, _, _ in rows] == [path.stem for path in RECIPES]
    for (_, means, ran), path in zip(rows, RECIPES, strict=True):
        loaded = read_recipe(path)
        assert ran == loaded["ran"].partition(";")[0]
        published = [v for v in loaded["published"]["values"] if v.get("category") == "mean"]
        images = {f"{value['value']:.3f}" for value in published if value["metric"] == "image.auroc"}
        assert {*re.findall(r"[01]\.\d{3}", means)} == images
