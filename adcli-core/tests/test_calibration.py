"""Calibration: what the threshold promises holds, exactly and in simulation."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import beta

from adcli._artefacts import digest_of
from adcli.errors import OptionError, RunError
from adcli.scoring.calibration import Calibration, Method, conformal_threshold, f1_threshold


@pytest.mark.parametrize("n", [1, 5, 19, 20, 99, 100, 250])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1])
def test_above_the_threshold_is_the_same_as_a_p_value_of_at_most_the_rate(n: int, rate: float) -> None:
    scores = np.sort(np.random.default_rng(n).normal(size=n))
    calibration = Calibration.conformal(scores, None, rate, "held-out")
    new = np.concatenate([scores, scores + 1e-9, scores - 1e-9, np.random.default_rng(1).normal(size=500) * 3])
    above = new > calibration.image_threshold
    achieved = calibration.achievable_rate
    np.testing.assert_array_equal(above, calibration.p_values(new) <= achieved + 1e-12)


@pytest.mark.parametrize(("n", "rate", "rank"), [(99, 0.01, 99), (199, 0.01, 198), (20, 0.01, 20), (100, 0.05, 96)])
def test_the_threshold_is_the_order_statistic(n: int, rate: float, rank: int) -> None:
    assert conformal_threshold(tuple(float(i) for i in range(1, n + 1)), rate) == rank


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1])
@pytest.mark.parametrize("n", [20, 50, 99, 200])
def test_good_images_exceed_the_threshold_as_often_as_promised(n: int, rate: float) -> None:
    """Over 2,000 draws of calibration images and new ones, whatever the distribution of the scores."""
    random = np.random.default_rng(3)
    draws = 2000
    scores = random.gamma(2.0, size=(draws, n + 50))
    alarms = []
    for row in scores:
        calibration = Calibration.conformal(row[:n], None, rate, "held-out")
        alarms.append((row[n:] > calibration.image_threshold).mean())
    promised = Calibration.conformal(scores[0, :n], None, rate, "held-out").achievable_rate
    standard_error = np.std(alarms) / np.sqrt(draws)
    # Continuous scores make the promise sharp: at most the rate, and at least the rate less one in n + 1.
    assert np.mean(alarms) <= promised + 3 * standard_error
    assert np.mean(alarms) >= promised - 1 / (n + 1) - 3 * standard_error


def test_too_few_images_weaken_the_promise_and_say_so() -> None:
    calibration = Calibration.conformal(np.arange(20.0), None, 0.01, "held-out")
    assert calibration.achievable_rate == pytest.approx(1 / 21)
    assert calibration.image_threshold == 19
    assert "at most 1 in 21" in calibration.promise()
    assert "1 in 100 would need 99" in calibration.promise()


@pytest.mark.parametrize(
    ("n", "rate", "words"),
    [
        (20, 0.01, "at most 1 in 21 good images is rejected on average, with 95% confidence at most 1 in 7"),
        (42, 0.01, "at most 1 in 43 good images is rejected on average, with 95% confidence at most 1 in 14"),
        (99, 0.01, "at most 1 in 100 good images is rejected on average, with 95% confidence at most 1 in 33"),
        (299, 1 / 300, "on average, with 95% confidence at most 1 in 100"),
        (5, 0.01, "on average, with 95% confidence at most 0.46 of all"),
        (1, 0.01, "on average, with 95% confidence at most 0.95 of all"),
    ],
)
def test_a_threshold_states_its_bound_beside_its_mean(n: int, rate: float, words: str) -> None:
    calibration = Calibration.conformal(np.arange(float(n)), None, rate, "held-out")
    assert words in calibration.promise()
    assert "confidence" not in calibration.promise(brief=True)
    assert "about at most" in replace(calibration, method="k-fold").promise()
    assert calibration.bound == pytest.approx(1 - 0.05 ** (1 / n))
    assert not calibration.confidence


@pytest.mark.parametrize("n", [1, 7, 43, 100, 500])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.3])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_a_confidence_takes_the_lowest_threshold_with_that_bound(n: int, rate: float, confidence: float) -> None:
    calibration = Calibration.conformal(np.arange(1.0, n + 1), np.arange(1.0, n + 1), rate, "folder", confidence)
    assert calibration.image_threshold is not None
    assert calibration.pixel_threshold == calibration.image_threshold
    from_top = n + 1 - int(calibration.image_threshold)
    needed = "would need" in calibration.promise()
    assert needed == (calibration.bound > rate)
    assert from_top == 1 or beta.cdf(rate, from_top, n + 1 - from_top) >= confidence - 1e-9
    assert from_top + 1 > n or beta.cdf(rate, from_top + 1, n - from_top) < confidence
    assert calibration.achievable_rate == pytest.approx(from_top / (n + 1))


@pytest.mark.parametrize(("rate", "needed"), [(0.1, 29), (0.05, 59), (0.02, 149), (0.01, 299), (0.005, 598)])
def test_too_few_images_for_a_confidence_say_how_many_it_takes(rate: float, needed: int) -> None:
    few = Calibration.conformal(np.arange(needed - 1.0), None, rate, "folder", 0.95)
    assert few.image_threshold == needed - 2
    assert f"with 95% confidence would need {needed} of them" in few.promise()
    enough = Calibration.conformal(np.arange(float(needed)), None, rate, "folder", 0.95)
    assert "would need" not in enough.promise()


def test_a_confidence_is_kept_until_another_is_asked_for() -> None:
    scores = np.random.default_rng(0).normal(size=400)
    sure = Calibration.conformal(scores, scores, 0.05, "folder", 0.95).with_colours(0.0)
    assert sure.at_rate(0.1) == Calibration.conformal(scores, scores, 0.1, "folder", 0.95).with_colours(0.0)
    assert sure.with_value(1.0).at_rate(0.05) == sure
    usual = sure.at_rate(0.05, 0.0)
    assert usual == Calibration.conformal(scores, scores, 0.05, "folder").with_colours(0.0)
    assert usual.at_rate(0.05, 0.95) == sure
    assert sure.image_threshold > usual.image_threshold


def test_a_confidence_is_written_only_if_it_was_asked_for() -> None:
    scores = np.random.default_rng(0).normal(size=40)
    usual, sure = (Calibration.conformal(scores, None, 0.05, "folder", given) for given in (0.0, 0.9))
    assert "confidence" not in json.loads(usual.to_json())
    for one in (usual, sure):
        assert Calibration.from_json(one.to_json(), source=Path("calibration.json")) == one
    content = json.loads(sure.to_json())
    content["confidence"] = 1.0
    content["digest"] = digest_of({k: v for k, v in content.items() if k not in ("number", "digest")})
    with pytest.raises(RunError, match=r"confidence is 1\.0, not a confidence from 0 to below 1"):
        Calibration.from_json(json.dumps(content), source=Path("calibration.json"))


def test_folds_and_given_thresholds_promise_no_more_than_they_can() -> None:
    scores = np.arange(200.0)
    assert "estimate" in Calibration.conformal(scores, None, 0.01, "k-fold").promise()
    assert "promises nothing" in Calibration.at_value(150.0, scores, None, 0.01).promise()
    assert "49 of 200" in Calibration.at_value(150.0, scores, None, 0.01).promise()
    assert "no verdicts" in Calibration.none().promise()


@pytest.mark.parametrize(
    ("chosen_by", "words"),
    [
        ("held-out", "held-out good images"),
        ("folder", "good images of a folder of their own"),
        ("k-fold", "images in folds"),
        ("none", "good images"),
    ],
)
@pytest.mark.parametrize("method", ["value", "f1"])
def test_images_are_called_what_they_are_whatever_sets_the_threshold(
    method: Method, chosen_by: Method, words: str
) -> None:
    calibration = Calibration(method, 0.1, (1.0, 2.0, 3.0), image_threshold=2.0, chosen_by=chosen_by)
    assert f"(1 of 3 {words} lie above it)" in calibration.promise()
    if chosen_by != "none":
        assert f"3 {words}" in calibration.at_rate(0.5).promise()


@pytest.mark.parametrize("threshold", [0.5, 1.0, 2.0, 3.0])
def test_a_threshold_below_all_good_images_is_warned_of(threshold: float) -> None:
    said = Calibration.at_value(threshold, [1.0, 2.0, 3.0], None, 0.1).explain()
    assert ("all 3 good images lie above it" in " ".join(said)) == (threshold < 1)


def test_the_pixel_threshold_comes_from_the_maxima_of_maps() -> None:
    calibration = Calibration.conformal(np.arange(99.0), np.arange(99.0) * 10, 0.01, "held-out")
    assert calibration.pixel_threshold == 980


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.4])
def test_another_rate_is_the_threshold_that_calibrating_for_it_would_have_given(rate: float) -> None:
    scores = np.random.default_rng(0).gamma(2, size=80)
    asked = Calibration.conformal(scores, scores * 2, rate, "folder").with_colours(0.5)
    assert Calibration.conformal(scores, scores * 2, 0.01, "folder").with_colours(0.5).at_rate(rate) == asked
    for other in (Calibration.none(), Calibration.at_value(1.0, scores, None, 0.01)):
        with pytest.raises(OptionError, match="adcli calibrate"):
            other.at_rate(rate)


def test_the_pixel_threshold_stays_in_the_middle_of_the_colours() -> None:
    maxima = np.random.default_rng(0).gamma(2, size=80)
    for calibration in (
        Calibration.conformal(maxima, maxima, 0.01, "folder").with_colours(0.25),
        Calibration.conformal(maxima, maxima, 0.01, "folder").with_colours(0.25).at_rate(0.3),
    ):
        low, high = calibration.map_range
        assert low == 0.25
        assert (low + high) / 2 == pytest.approx(calibration.pixel_threshold)
    assert Calibration.none().with_colours(1.0, 3.0).map_range == (1.0, 5.0)


@pytest.mark.parametrize("score", [-1.0, 0.0, 2.0, 2.5, 3.0, 9.0])
def test_one_score_is_judged_as_many_are(score: float) -> None:
    calibration = Calibration.conformal([0.0, 2.0, 2.0, 3.0], None, 0.3, "held-out")
    assert calibration.p_value(score) == calibration.p_values([score])[0]
    assert calibration.image_threshold is not None
    assert calibration.is_defect(score) == (score > calibration.image_threshold)
    assert Calibration.none().p_value(score) is Calibration.none().is_defect(score) is None


@pytest.mark.parametrize("seed", range(5))
def test_the_f1_threshold_beats_every_other_cut(seed: int) -> None:
    random = np.random.default_rng(seed)
    is_defect = random.random(60) < 0.4
    scores = np.round(random.normal(size=60) + is_defect, 1)  # rounded, so that there are ties

    def f1(threshold: float) -> float:
        called = scores > threshold
        return 2 * (called & is_defect).sum() / (called.sum() + is_defect.sum())

    best = f1(f1_threshold(scores, is_defect))
    assert best == pytest.approx(max(f1(cut) for cut in [*(scores - 0.05), *(scores + 0.05)]))


def test_a_calibration_round_trips_and_a_changed_one_is_refused(tmp_path: Path) -> None:
    calibration = Calibration.conformal(np.random.default_rng(0).normal(size=50), np.arange(50.0), 0.02, "folder")
    path = tmp_path / "calibration.json"
    path.write_text(calibration.to_json())
    assert Calibration.from_json(path.read_text(), source=path) == calibration
    given = replace(named([3.0, 1.0, 2.0]), given="a fingerprint", weights="of a model", number=7)
    assert Calibration.from_json(given.to_json(), source=path) == given
    content = json.loads(path.read_text())
    content["image_threshold"] = 0.0
    with pytest.raises(RunError, match=r"calibration\.json"):
        Calibration.from_json(json.dumps(content), source=path)
    with pytest.raises(RunError, match=r"calibration\.json"):
        Calibration.from_json("{", source=path)


def named(scores: list[float], rate: float = 0.01) -> Calibration:
    """Return a calibration whose images are called by the rank of their scores."""
    order = np.argsort(scores)
    names = {int(i): f"{rank}.png" for rank, i in enumerate(order, 1)}
    calibration = Calibration.conformal(scores, None, rate, "held-out")
    return calibration.of_images([(score, names[i], f"digest of {names[i]}") for i, score in enumerate(scores)])


@pytest.mark.parametrize(("n", "rate"), [(1, 0.01), (20, 0.01), (24, 0.2), (200, 0.01), (1500, 0.01)])
def test_the_image_that_sets_the_threshold_is_named(n: int, rate: float) -> None:
    scores = np.random.default_rng(n).normal(size=n).tolist()
    calibration = named(scores, rate)
    assert calibration.threshold_image is not None
    rank = int(calibration.threshold_image.removesuffix(".png"))
    assert calibration.image_threshold == sorted(scores)[rank - 1]
    assert calibration.threshold_image in calibration.explain()[0]
    assert list(calibration.image_scores) == sorted(scores)
    assert calibration.digests == tuple(f"digest of {name}" for name in calibration.images)
    other = calibration.at_rate(0.5)
    assert other.threshold_image == f"{sorted(scores).index(other.image_threshold) + 1}.png"


@pytest.mark.parametrize("n", [10, 24, 200, 1500])
def test_an_image_far_from_the_others_is_pointed_out_with_what_helps(n: int) -> None:
    usual = np.random.default_rng(n).normal(10, 1, size=n - 1).tolist()
    calibration = named([*usual, 25.6], 1 / (n + 1))
    far, remedy = calibration.explain()[1:]
    assert f"{max(usual):.6g}" in far
    rate = float(remedy.split("--false-alarm-rate ")[1].rstrip("."))
    assert calibration.at_rate(rate).image_threshold == max(usual)
    assert len(named([*usual, max(usual) + 0.1], 1 / (n + 1)).explain()) == 1


def test_scores_with_the_tail_of_an_exponential_are_seldom_called_far() -> None:
    random = np.random.default_rng(1)
    called = [len(named(random.exponential(size=20).tolist()).explain()) > 1 for _ in range(1000)]
    normal = [len(named(random.normal(size=20).tolist()).explain()) > 1 for _ in range(1000)]
    assert np.mean(called) < 4 / 20 + 0.02
    assert np.mean(normal) < 0.09


@pytest.mark.parametrize(
    "calibration",
    [
        Calibration.none(),
        Calibration.at_value(3.0, [1.0], None, 0.1).of_images([(1.0, "a", "b")]),
        Calibration.conformal([1.0, 2.0], None, 0.1, "folder"),
    ],
)
def test_nothing_is_explained_if_no_known_image_sets_the_threshold(calibration: Calibration) -> None:
    assert calibration.threshold_image is None
    assert calibration.explain() == []


def test_thresholds_lie_above_what_rounding_does_and_p_values_agree() -> None:
    calibration = Calibration.conformal([0.0] * 10, [0.0] * 10, 0.05, "held-out").above_rounding(1e-4, 1e-3)
    assert (calibration.image_threshold, calibration.pixel_threshold) == (1e-4, 1e-3)
    assert calibration.is_defect(7e-5) is False
    assert calibration.p_value(7e-5) == 1
    assert calibration.is_defect(2e-4) is True
    assert calibration.p_value(2e-4) == pytest.approx(1 / 11)
    assert calibration.at_rate(0.3).image_threshold == 1e-4
    assert Calibration.at_value(0.5, [0.0], None, 0.1).above_rounding(0.1, 0).image_threshold == 0.5
