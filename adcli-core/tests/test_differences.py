"""Runs are compared on the images they share, and chance is told from a difference."""

import csv
from pathlib import Path

import numpy as np
import pytest

from adcli.errors import RunError
from adcli.metrics import image_metrics
from adcli.pipeline._compare import compare_runs
from adcli.runs.run import Run
from adcli.scoring.calibration import Calibration
from adcli.scoring.verdict import COLUMNS, VerdictRecord


def run_of(folder: Path, scores: np.ndarray, is_defect: np.ndarray, names: list[str] | None = None) -> Run:
    """Write a run's evaluation."""
    table = folder / "evaluations/test/scores.csv"
    table.parent.mkdir(parents=True)
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, "label", "defect"])
        for i, (score, defective) in enumerate(zip(scores, is_defect, strict=True)):
            name = names[i] if names else f"{i}.png"
            record = VerdictRecord(image=name, time="", score=float(score), verdict="")
            writer.writerow([*record.to_cells(), "defect" if defective else "good", ""])
    return Run(folder, {"model": "any", "data": None, "data_options": {}}, {}, Calibration.none())


def delong(first: np.ndarray, second: np.ndarray, is_defect: np.ndarray) -> float:
    """Return the standard error of the difference of two AUROCs on the same images (DeLong et al., 1988)."""

    def components(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        good, defect = scores[~is_defect], scores[is_defect]
        wins = (defect[:, None] > good).astype(float) + 0.5 * (defect[:, None] == good)
        return wins.mean(axis=1), wins.mean(axis=0)

    (defects, goods), (other_defects, other_goods) = components(first), components(second)
    d, g = defects - other_defects, goods - other_goods
    return float(np.sqrt(d.var(ddof=1) / len(d) + g.var(ddof=1) / len(g)))


def correlated(seed: int, gap: float, count: int = 240) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    is_defect = np.arange(count) % 3 == 0
    common = random.normal(size=count)
    first = common + 0.7 * random.normal(size=count) + is_defect
    second = common + 0.7 * random.normal(size=count) + (1 + gap) * is_defect
    return np.round(first, 1), np.round(second, 1), is_defect


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("gap", [0.0, 1.0])
def test_the_interval_is_that_of_the_closed_form(tmp_path: Path, seed: int, gap: float) -> None:
    first, second, is_defect = correlated(seed, gap)
    a, b = run_of(tmp_path / "a", first, is_defect), run_of(tmp_path / "b", second, is_defect)
    one, other = compare_runs([a, b]).standings
    assert (one.difference, one.interval, one.shown) == (0, (0, 0), False)
    assert other.auroc == image_metrics(second, is_defect)["auroc"]
    assert other.difference == pytest.approx(other.auroc - one.auroc)
    error = delong(first, second, is_defect)
    for bound, sign in zip(other.interval, (-1, 1), strict=True):
        assert bound == pytest.approx(other.difference + sign * 1.96 * error, abs=0.25 * error)
    assert other.shown == (gap > 0)


def test_equal_scores_show_no_difference_and_the_order_of_rows_says_nothing(tmp_path: Path) -> None:
    scores, _, is_defect = correlated(0, 0)
    names = [f"{i}.png" for i in range(len(scores))]
    a = run_of(tmp_path / "a", scores, is_defect, names)
    b = run_of(tmp_path / "b", 10 * scores[::-1], is_defect[::-1], names[::-1])
    assert compare_runs([a, b]).standings[1].interval == (0, 0)


def test_only_shared_images_count(tmp_path: Path) -> None:
    first, second, is_defect = correlated(0, 1)
    a, b = run_of(tmp_path / "a", first, is_defect), run_of(tmp_path / "b", second[:90], is_defect[:90])
    found = compare_runs([a, b])
    assert (found.n_good, found.n_defect, found.left_out) == (60, 30, 150)
    assert found.standings[0].auroc == image_metrics(first[:90], is_defect[:90])["auroc"]


def test_what_cannot_be_compared_is_one_line(tmp_path: Path) -> None:
    first, second, is_defect = correlated(0, 1)
    a = run_of(tmp_path / "a", first, is_defect)
    b = run_of(tmp_path / "b", second, is_defect, [f"other/{i}" for i in range(len(second))])
    with pytest.raises(RunError, match=r"share no good and defective images.*adcli evaluate"):
        compare_runs([a, b])
    with pytest.raises(RunError, match="no such evaluation"):
        compare_runs([a, b], "missing")
    (tmp_path / "b/evaluations/test/scores.csv").write_text("image,label\nx,good\n")
    with pytest.raises(RunError, match="no table of scores"):
        compare_runs([a, b])
