"""``adcli compare`` of the groups of a sweep, by any metric, and as a page; that of single runs stands with these."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from support import Adcli, assert_one_line
from sweep_results import cell, write_scores

from adcli._files import seal
from adcli.metrics import image_metrics, rates
from adcli.runs.run import FORMAT
from adcli.sweeps.folder import RUNS, list_runs

LABELS = np.arange(40) >= 20
SHIFTS = {"padim": 3.0, "dfm": 0.5, "cflow": 2.9}


def make_sweep(folder: Path, categories: Sequence[str], seeds: Sequence[int], *, lacking: str = "") -> Path:
    """Write a sweep whose runs have scores and metrics, and nothing else that a run has; one may be missing."""
    random = np.random.default_rng(0)
    cells = [cell(model, category, seed) for seed in seeds for model in SHIFTS for category in categories]
    folder.mkdir()
    list_runs(folder, cells)
    difficulty = {category: random.normal(size=len(LABELS)) * 0.7 for category in categories}
    for each in cells:
        run, model, category = folder / RUNS / each.name, str(each.factors["model"]), str(each.factors["category"])
        scores = difficulty[category] + 0.7 * random.normal(size=len(LABELS)) + SHIFTS[model] * LABELS
        if each.name == lacking:
            continue
        write_scores(run, scores, LABELS, 1.5)
        found = rates(scores, LABELS, 1.5)
        image = {
            **image_metrics(scores, LABELS),
            **{name: found[name] for name in ("false_alarm_rate", "detection_rate")},
        }
        aupro = 0.3 * SHIFTS[model] + 0.01 * random.uniform()
        (run / "metrics.json").write_text(json.dumps({"image": image, "pixel": {"aupro": min(aupro, 1.0)}}))
        settings = each.settings.to_dict()
        (run / "run.yaml").write_text(seal({"format": FORMAT, **settings, "record": {"timings": {"fit_seconds": 1.5}}}))
    return folder


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sweep(tmp_path_factory.mktemp("swept") / "S", ("bottle", "cable", "tile"), (0, 1))


def test_groups_are_compared_with_the_best(adcli: Adcli, swept: Path) -> None:
    found = json.loads(adcli("compare", swept, "--json").out)
    assert (found["metric"], found["against_is"], found["comparisons"]) == ("image.auroc", "the best", 3)
    assert (found["categories"], found["runs"], found["images"]) == (3, 6, 120)
    groups = {row["group"][0]: row for row in found["groups"]}
    assert {*groups, found["against"][0]} == {*SHIFTS}
    low, high = groups["dfm"]["interval"]
    assert low < groups["dfm"]["difference"] < high < 0
    assert groups["dfm"]["p_corrected"] < 0.05
    close = next(row for name, row in groups.items() if name != "dfm")
    assert close["p_corrected"] > 0.05
    table = adcli("compare", swept).out
    assert "6 runs of each group, 3 categories, 120 test images" in table
    assert "behind by more than chance" in table
    assert "may be chance" in table
    assert "p is corrected for 3 comparisons (Holm)." in table


@pytest.mark.parametrize(
    ("metric", "images"), [("f1_max", 120), ("image.fpr_at_95_tpr", 120), ("detection_rate", 120), ("aupro", 0)]
)
def test_any_metric_is_compared_and_agrees_with_metrics_json(
    adcli: Adcli, swept: Path, metric: str, images: int
) -> None:
    found = json.loads(adcli("compare", swept, "--metric", metric, "--against", "padim", "--json").out)
    assert found["images"] == images
    level, key = found["metric"].split(".")
    values = {"padim": found["value"], **{row["group"][0]: row["value"] for row in found["groups"]}}
    for model, value in values.items():
        files = (swept / RUNS).glob(f"{model}-*/metrics.json")
        assert value == pytest.approx(np.mean([json.loads(file.read_text())[level][key] for file in files]))
    assert (found["against_is"], found["comparisons"]) == ("given", 2)
    assert all(row["interval"] for row in found["groups"])


def test_of_one_category_and_seed_pixels_cannot_tell_chance_and_images_can(adcli: Adcli, tmp_path: Path) -> None:
    single = make_sweep(tmp_path / "S", ("bottle",), (0,))
    outcome = adcli("compare", single, "--metric", "aupro")
    assert outcome.code == 0, outcome.err
    assert "from one pair of runs, nobody can tell chance" in outcome.out
    assert outcome.out.count("chance cannot be told") == 2
    found = json.loads(adcli("compare", single, "--json").out)
    assert all(row["interval"] and row["other_categories"] is None for row in found["groups"])


def test_runs_that_are_lacking_are_said(adcli: Adcli, tmp_path: Path) -> None:
    lacking = make_sweep(tmp_path / "S", ("bottle", "cable"), (0,), lacking="dfm-parts-cable-0")
    assert "Compared on 1 of 2 runs of each group, those that all groups have." in adcli("compare", lacking).out


def test_it_is_drawn(adcli: Adcli, swept: Path, tmp_path: Path) -> None:
    page = tmp_path / "forest.html"
    outcome = adcli("compare", swept, "--metric", "aupro", "--against", "dfm", "--out", page)
    assert outcome.code == 0, outcome.err
    text = page.read_text(encoding="utf-8")
    assert "difference to dfm" in text
    assert "Ranking by AUPRO" in text
    assert str(page.name) in outcome.out
    assert json.loads(adcli("compare", swept, "--out", page, "--json").out)["page"] == str(page)
    assert_one_line(adcli("compare", swept, "--out", tmp_path / "a.png"), 2, "--out must be a file that ends in .html")


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (("--by", "modle"), 2, ("--by names 'modle'", "Did you mean 'model'?")),
        (("--by", "model,"), 2, ("--by must be names with commas", "'model,'")),
        (("--over", "category"), 2, ("--by and --over leave out 'seed'", "(0, 1)")),
        (("--metric", "image.aurok"), 2, ("--metric names 'image.aurok'", "Did you mean 'image.auroc'?")),
        (("--against", "pademi"), 2, ("--against names 'pademi'", "Did you mean 'padim'?")),
        (("--name", "test"), 2, ("--name is for runs",)),
    ],
)
def test_what_cannot_be_compared(
    adcli: Adcli, swept: Path, given: Sequence[str], code: int, words: Sequence[str]
) -> None:
    assert_one_line(adcli("compare", swept, *given), code, *words)


def test_the_options_of_a_sweep_are_for_a_sweep(adcli: Adcli, tmp_path: Path) -> None:
    assert_one_line(adcli("compare", tmp_path, tmp_path, "--by", "model"), 2, "--by is for a sweep")
    assert_one_line(adcli("compare", tmp_path), 2, "two runs or more, or the folder of a sweep")
