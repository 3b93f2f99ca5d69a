"""Recipes can be run and checked, and their page says of each what its file says."""

import re
from pathlib import Path

import peer_values
import pytest
from support import own_models

from adcli._plugins.registry import registry
from adcli.data.references import several_categories
from adcli.metrics.table import METRICS
from adcli.nn.backbones import sketch_backbone
from adcli.sweeps.cells import Cell
from adcli.sweeps.checking import check_published
from adcli.sweeps.data import FoundData
from adcli.sweeps.files import Published, SweepFile, read_sweep_file
from adcli.sweeps.grids import expand, parse_grid
from adcli.sweeps.results import Outcome, SweepResults

ROOT = Path(__file__).parent.parent
STAND_INS = ROOT / "docs/recipes/stand-ins.yaml"
BOX = ROOT / "docs/recipes/box-2026.yaml"
RECIPES = sorted({*(ROOT / "docs/recipes").glob("*.yaml")} - {STAND_INS, BOX})
"""Those with values that somebody published."""

PAGE = ROOT / "docs/recipes.md"
PEER = ROOT / "docs/recipes/anomalib-2026.yaml"
KEYS = {f"{level}.{metric.key}" for metric in METRICS for level in metric.levels}
CATEGORIES = 15
"""Of MVTec AD."""

by_recipe = pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)


def cells_of(recipe: SweepFile) -> list[Cell]:
    """Return the runs of a recipe, as if its data were there."""
    cells = []
    for values in recipe.grids:
        categories = several_categories(values.get("data"))
        data = [FoundData("folder", "", None, {})]
        if categories is not None:
            name = categories.dataset
            data = [FoundData(name, category, f"{name}:{category}", {}) for category in categories.names]
        cells += expand(parse_grid({key: value for key, value in values.items() if key != "data"}), data)
    return cells


def mean_of(recipe: SweepFile, metric: str) -> list[Published]:
    return [each for each in recipe.published if each.metric == metric and each.where.get("category") == "mean"]


def test_there_is_a_recipe_for_each_model_and_one_for_all() -> None:
    papers = {cell.settings.model for path in RECIPES if path != PEER for cell in cells_of(read_sweep_file(path))}
    assert papers == {*own_models()}
    # The ninth came after anomalib had been run for that one.
    assert {cell.settings.model for cell in cells_of(read_sweep_file(PEER))} == papers - {"supersimplenet"}


@by_recipe
def test_its_runs_are_of_all_good_images_and_of_layers_that_the_backbone_has(path: Path) -> None:
    cells = cells_of(read_sweep_file(path))
    # Published values are of models that saw all good images.
    assert {cell.settings.calibration for cell in cells} == {"none"}
    asked = {str(cell.settings.options): cell.settings for cell in cells if "backbone" in cell.settings.options}
    for settings in asked.values():
        options = registry().models[settings.model].spec.options.parse(settings.options)
        assert max(options.layers) <= len(sketch_backbone(options.backbone).channels)


@by_recipe
def test_a_recipe_of_a_paper_has_all_categories_each_with_one_size(path: Path) -> None:
    recipe = read_sweep_file(path)
    cells = cells_of(recipe)
    assert all(cell.settings.image_size for cell in cells)
    if path == PEER:
        assert not any("data" in grid for grid in recipe.grids)
        return
    assert {grid["data"] for grid in recipe.grids} == {"mvtec_ad"}
    assert len({cell.factors["category"] for cell in cells}) == CATEGORIES
    cropped = {bool(cell.settings.crop) for cell in cells}
    assert len(cropped) == 1
    for grid in recipe.grids:
        named = [name for entry in grid.get("set", []) for name in _listed(entry["where"]["category"])]
        assert sorted(named) in ([], sorted(registry().datasets["mvtec_ad"].spec.categories))


def _listed(value: object) -> list[str]:
    return value if isinstance(value, list) else [str(value)]


@by_recipe
def test_each_published_value_is_of_runs_that_it_makes_all_with_the_same_settings(path: Path) -> None:
    recipe = read_sweep_file(path)
    cells = cells_of(recipe)
    measured = dict.fromkeys(KEYS, 0.5)
    results = SweepResults(Path(), [Outcome(cell, Path("x"), measured) for cell in cells])
    assert recipe.source
    assert {each.metric for each in recipe.published} <= KEYS
    for found in check_published(recipe, results):
        assert found.made, found.published
        if found.published.where.get("category") == "mean":
            assert found.made % CATEGORIES == 0
    stated = [(sorted(each.where.items()), each.metric) for each in recipe.published]
    assert all(stated.count(each) == 1 for each in stated)


@by_recipe
def test_a_mean_is_that_of_its_categories_wherever_all_are_listed(path: Path) -> None:
    recipe = read_sweep_file(path)
    for metric in KEYS:
        for mean in mean_of(recipe, metric):
            rest = {name: value for name, value in mean.where.items() if name != "category"}
            listed = [
                each.value
                for each in recipe.published
                if each.metric == metric and {**each.where, "category": "mean"} == {**rest, "category": "mean"}
            ]
            if len(listed) == 1 + CATEGORIES:
                # Two sources of one method differ by this much, and a slip in one of the numbers mostly by more.
                assert (sum(listed) - mean.value) / CATEGORIES == pytest.approx(mean.value, abs=0.002)


@by_recipe
def test_no_path_of_a_machine_stands_in_it(path: Path) -> None:
    assert not re.search(r"(?<![\w.])/\w+/\w", path.read_text(encoding="utf-8"))


def test_the_values_of_the_peer_are_those_of_its_recorded_runs() -> None:
    rows = peer_values.read_peer((ROOT / "benchmarks").glob("*results.jsonl"), "bottle", "embedded")
    recorded = [
        Published({"model": each["model"]}, each["metric"], each["value"], each.get("tolerance"))
        for each in peer_values.published_values(rows)
    ]
    assert list(read_sweep_file(PEER).published) == recorded


def test_backbones_in_the_box_are_compared_on_the_same_few_images_with_each_model() -> None:
    cells = cells_of(read_sweep_file(STAND_INS))
    found = {(cell.settings.model, cell.settings.options["backbone"], cell.settings.seed) for cell in cells}
    in_the_box = {name for name in registry().backbones if not name.endswith(":")}
    models = {"padim", "patchcore", "dfm"}
    assert found == {(model, name, seed) for model in models for name in in_the_box for seed in range(5)}
    assert {(cell.settings.shots, cell.settings.image_size, cell.settings.calibration) for cell in cells} == {
        (8, "256", "none")
    }
    assert f"({STAND_INS.relative_to(PAGE.parent).as_posix()})" in PAGE.read_text(encoding="utf-8")


def test_the_box_is_every_model_with_every_backbone_in_five_seeds_if_it_draws_anything() -> None:
    cells = cells_of(read_sweep_file(BOX))
    found = {(cell.settings.model, cell.settings.options.get("backbone"), cell.settings.seed) for cell in cells}
    in_the_box = {name for name in registry().backbones if not name.endswith(":")}
    on_a_backbone = {(model, name) for model in {*own_models()} - {"ganomaly"} for name in in_the_box}
    pairs = {*on_a_backbone, ("ganomaly", None)}
    assert found == {(*pair, seed) for pair in pairs for seed in range(1 if pair[0] in ("dfm", "dfkde") else 5)}
    assert {cell.settings.calibration for cell in cells} == {"none"}
    assert f"({BOX.relative_to(PAGE.parent).as_posix()})" in PAGE.read_text(encoding="utf-8")


def test_the_page_lists_each_recipe_with_its_mean_and_whether_it_ran() -> None:
    rows = re.findall(r"^\| \[`([\w-]+)`\]\(recipes/\1\.yaml\) \|.*\| (.*) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    assert [name for name, _, _ in rows] == [path.stem for path in RECIPES]
    for (_, means, ran), path in zip(rows, RECIPES, strict=True):
        recipe = read_sweep_file(path)
        assert ran == recipe.ran.partition(";")[0]
        images = {f"{mean.value:.3f}" for mean in mean_of(recipe, "image.auroc")}
        assert {*re.findall(r"[01]\.\d{3}", means)} == images
