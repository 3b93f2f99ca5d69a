"""The rate that folds state is an estimate; how far the true one may lie above it is simulated, and held here."""

from collections.abc import Callable, Sequence
from pathlib import Path

import folds
import numpy as np
import pytest
import torch
from folds import SCORERS, Case, Fit, Numbers, Score, Scores, good_images, simulate
from numpy.typing import NDArray

from adcli.data.source import ImageSource, Item
from adcli.errors import OptionError
from adcli.progress import Progress
from adcli.scoring.calibration import Calibration
from adcli.scoring.runtime import Runtime
from adcli.scoring.thresholds import CalibrationPlan

SHARED = Path(__file__).parents[2] / "shared"

SLACK = 0.001
"""How far the mean false-alarm rate may lie above the stated one: a tenth of a point, as docs/thresholds.md says."""

COUNT = 500


def nearest_neighbours(features: NDArray[np.float64]) -> Fit:
    """Return a model that scores by the distance to the nearest of the features it was fitted to."""

    def fit(numbers: Numbers) -> Score:
        def score(others: Numbers) -> Scores:
            squared = np.square(features[others][:, None] - features[numbers]).sum(axis=2)
            return np.sqrt(squared.min(axis=1)).astype(np.float32)

        return score

    return fit


@pytest.fixture(scope="module")
def drawn() -> Fit:
    """Nearest neighbours among features of eight dimensions with heavy tails, where outliers set the threshold."""
    return nearest_neighbours(np.random.default_rng(0).standard_t(4, (COUNT, 8)))


def assert_kept(case: Case) -> None:
    """Check that the mean rates lie below the stated ones and the slack, up to the error of the simulation."""
    assert (case.mean <= case.promised + SLACK + 3 * case.standard_error).all(), case


@pytest.mark.parametrize("n", [20, 50])
def test_folds_reject_no_more_good_images_than_they_say_and_the_slack(drawn: Fit, n: int) -> None:
    for case in simulate(drawn, COUNT, n, ("5-fold", "10-fold"), 200).values():
        assert_kept(case)
        # Nor is the threshold merely high: the least that folds could state is one image in n + 1.
        assert case.mean[-1] >= case.promised[-1] / 2


def test_images_scored_by_a_model_fitted_to_them_break_it(drawn: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    calibrate = folds.calibrate

    def leaking(
        plan: CalibrationPlan,
        runtime: Runtime,
        source: ImageSource,
        *,
        refit: Callable[[Sequence[Item]], Runtime],
        batch_size: int,
        progress: Progress,
    ) -> Calibration:
        return calibrate(
            plan, runtime, source, refit=lambda _: refit(plan.fit), batch_size=batch_size, progress=progress
        )

    monkeypatch.setattr(folds, "calibrate", leaking)
    case = simulate(drawn, COUNT, 20, ("5-fold",), 50)["5-fold"]
    with pytest.raises(AssertionError):
        assert_kept(case)


def test_folds_are_refused_where_scores_differ_in_scale_from_fit_to_fit(drawn: Fit) -> None:
    def shifted(numbers: Numbers) -> Score:
        score = drawn(numbers)
        return lambda others: score(others) + np.float32(100 * len(numbers))

    with pytest.raises(OptionError, match="5-fold: its threshold would reject 20 of the 20"):
        simulate(shifted, COUNT, 20, ("5-fold",), 1)


@pytest.mark.thorough
@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs inspection images in ../shared")
@torch.inference_mode()
def test_folds_on_real_bottles_keep_to_it_too() -> None:
    batches = good_images(str(SHARED / "data/bottle"))
    scorer = SCORERS["dfm"]
    fit = scorer.fit_on(scorer.features(batches))
    for case in simulate(fit, batches.count, 20, ("5-fold", "10-fold"), 200).values():
        assert_kept(case)
