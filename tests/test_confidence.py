"""How sure a threshold is: its bound holds as often as it says, in simulation; and folds' hold about."""

import subprocess
import sys

import numpy as np
import pytest
from confidence import (
    Draw,
    cover,
    cover_audit,
    draw_images,
    draw_loose_views,
    draw_parts,
    sample_truth,
)

from adcli.scoring.calibration import Calibration

LEAST = 0.935
CALIBRATIONS = 2000
TRUTH = 500_000


@pytest.mark.parametrize("n", [20, 43, 100, 300])
@pytest.mark.parametrize("draw", [draw_images, draw_parts])
@pytest.mark.parametrize(("rate", "confidence"), [(0.01, 0.0), (0.05, 0.0), (0.05, 0.95)])
def test_the_bound_holds_as_often_as_its_confidence_says(draw: Draw, n: int, rate: float, confidence: float) -> None:
    held = cover(draw, sample_truth(draw, TRUTH), n, CALIBRATIONS, rate, confidence)
    assert LEAST <= held <= 0.965


def test_photographs_of_one_part_break_it() -> None:
    truth = sample_truth(draw_parts, TRUTH)
    assert cover(draw_loose_views, truth, 100, 500, 0.01) < 0.8
    assert cover(draw_loose_views, sample_truth(draw_images, TRUTH), 100, 1000, 0.01) < LEAST


def test_a_rate_with_a_confidence_is_kept_as_often_as_that() -> None:
    truth, random = sample_truth(draw_images, TRUTH), np.random.default_rng(0)
    for n in (100, 300):
        made = [Calibration.conformal(row, None, 0.03, "folder", 0.95) for row in random.normal(size=(1000, n))]
        true = [1 - np.searchsorted(truth, one.image_threshold) / TRUTH for one in made]
        assert np.mean(np.array(true) <= 0.03) >= LEAST
        # Nor is the threshold merely high.
        assert np.mean(true) > 0.003


@pytest.mark.parametrize(("parts", "share"), [(50, 0.3), (300, 0.02), (300, 0.1)])
def test_the_bound_on_defective_parts_among_the_accepted_holds(parts: int, share: float) -> None:
    assert min(cover_audit(parts, share, 2.0, 1000)) >= LEAST


def test_to_predict_nothing_is_imported_that_computes_bounds() -> None:
    code = (
        "import sys; from adcli.scoring.calibration import Calibration; import adcli.pipeline._predict; "
        "sure = Calibration.conformal([*range(400)], None, 0.02, 'folder', 0.95); "
        "sure.promise(brief=True), sure.p_value(3.0), sure.achievable_rate, sure.at_rate(0.1); "
        "Calibration.from_json(sure.to_json(), source='calibration.json'); "
        "print('scipy.special' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
