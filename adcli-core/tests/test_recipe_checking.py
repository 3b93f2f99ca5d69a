"""Comparing a sweep with published values."""

from pathlib import Path

import pytest

from adcli.errors import OptionError
from adcli.runs.settings import TrainSettings
from adcli.sweeps.cells import Cell, Factor
from adcli.sweeps.checking import check_published
from adcli.sweeps.files import Published, SweepFile
from adcli.sweeps.results import Outcome, SweepResults

AUROC = "image.auroc"
SETTINGS = TrainSettings.parse({"model": "padim"})


def outcome(category: str, seed: int, value: float | None, **more: Factor) -> Outcome:
    factors: dict[str, Factor] = {"model": "padim", "data": "d", "category": category, "seed": seed, **more}
    cell = Cell(f"{category}-{seed}-{more}", factors, SETTINGS)
    return Outcome(cell, error="failed") if value is None else Outcome(cell, Path("x"), {AUROC: value})


def check(values: list[Published], *outcomes: Outcome) -> list[tuple[float | None, float | None, str]]:
    recipe = SweepFile([{"model": "padim"}], published=values)
    found = check_published(recipe, SweepResults(Path(), outcomes))
    return [
        (each.value and round(each.value, 6), each.spread and round(each.spread, 6), each.verdict) for each in found
    ]


RUNS = (outcome("a", 0, 0.90), outcome("b", 0, 0.80), outcome("a", 1, 0.94), outcome("b", 1, 0.82))


def test_a_mean_is_over_the_categories_of_each_seed_and_the_spread_over_the_seeds() -> None:
    mean = Published({"category": "mean"}, AUROC, 0.86)
    # Of seed 0 0.85, of seed 1 0.88: their standard deviation is 0.03 / sqrt(2).
    assert check([mean], *RUNS) == [(0.865, round(0.03 / 2**0.5, 6), "within")]
    assert check([Published({"category": "a"}, AUROC, 0.9)], *RUNS) == [(0.92, round(0.04 / 2**0.5, 6), "off")]
    assert check([Published({"category": "a"}, AUROC, 0.9, 0.02)], *RUNS)[0][2] == "within"


def test_what_is_missing_is_no_verdict() -> None:
    values = [Published({"category": "mean"}, AUROC, 0.9), Published({"category": "b"}, AUROC, 0.9)]
    assert check(values, RUNS[0], outcome("b", 0, None)) == [(0.9, None, "incomplete"), (None, None, "not run")]
    assert check([Published({"category": "c"}, AUROC, 0.9)], *RUNS) == [(None, None, "not run")]


def test_runs_of_several_settings_are_never_averaged() -> None:
    several = [outcome("a", 0, 0.9, image_size="256"), outcome("a", 0, 0.95, image_size="384")]
    with pytest.raises(OptionError, match="image_size 256, 384"):
        check([Published({"category": "a"}, AUROC, 0.9)], *several)
    named = Published({"category": "a", "image_size": 384}, AUROC, 0.95)
    assert check([named], *several) == [(0.95, None, "within")]


def test_categories_may_have_settings_of_their_own() -> None:
    several = [outcome("a", 0, 0.9, image_size="256"), outcome("b", 0, 0.8, image_size="384")]
    assert check([Published({"category": "mean"}, AUROC, 0.85)], *several) == [(0.85, None, "within")]


def test_runs_of_other_models_are_not_of_the_recipe() -> None:
    others = outcome("a", 0, 0.1)
    factors = {**others.cell.factors, "model": "dfm"}
    stranger = Outcome(Cell("x", factors, SETTINGS), Path("x"), {AUROC: 0.1})
    assert check([Published({"category": "a"}, AUROC, 0.92)], *RUNS, stranger)[0][0] == 0.92
