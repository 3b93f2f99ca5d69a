"""Intervals and p-values against closed forms, scipy, independent code, and data of which the truth is known."""

import math

import numpy as np
import pytest
from scipy import stats

from adcli.metrics import image_metrics, rates
from adcli.metrics.chance import (
    OF_THRESHOLD,
    REDRAWN,
    Variance,
    adjust_for_many,
    judge_draws,
    judge_variances,
    redraw,
)

LABELS = np.arange(40) % 2 == 1


class Written(np.random.Generator):
    """Draws at random, and keeps what it drew."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(1))
        self.drawn: list[np.ndarray] = []

    def choice(self, a, size=None, **_):  # type: ignore[no-untyped-def]
        self.drawn.append(super().choice(a, size))
        return self.drawn[-1]


def scores(seed: int, digits: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(LABELS * 0.8, 1).round(digits)


@pytest.mark.parametrize("digits", [0, 1, 12], ids=["many ties", "some ties", "none"])
@pytest.mark.parametrize("metric", REDRAWN)
def test_a_metric_of_redrawn_images_is_that_of_these_images(metric: str, digits: int) -> None:
    values, random = scores(3, digits), Written()
    found = redraw(metric, values[None], LABELS, [0.4], random, 25)[:, 0]
    for i, value in enumerate(found):
        chosen = np.concatenate(random.drawn[2 * i : 2 * i + 2])
        expected = (
            rates(values[chosen], LABELS[chosen], 0.4)
            if metric in OF_THRESHOLD
            else image_metrics(values[chosen], LABELS[chosen])
        )
        assert value == pytest.approx(expected[metric], abs=1e-12)


def test_all_runs_get_the_same_images() -> None:
    row = scores(0, 12)
    found = redraw("auroc", np.stack([row, row, 2 * row + 1]), LABELS, [None] * 3, np.random.default_rng(0), 50)
    assert np.ptp(found, axis=1).max() < 1e-12
    assert np.ptp(found, axis=0).min() > 0


def test_large_sets_are_drawn_in_blocks_that_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    row = scores(0, 2)[None]
    whole = redraw("auroc", row, LABELS, [None], np.random.default_rng(0), 30)
    monkeypatch.setattr("adcli.metrics.chance._BLOCK", 4 * len(LABELS))
    assert (redraw("auroc", row, LABELS, [None], np.random.default_rng(0), 30) == whole).all()


def test_the_bootstrap_has_the_standard_error_of_a_share() -> None:
    """Of a share the standard error is known: the root of p (1 - p) / n."""
    is_defect = np.arange(300) >= 100
    values = np.where(np.arange(300) % 5 == 0, 1.0, 0.0)
    drawn = redraw("detection_rate", values[None], is_defect, [0.5], np.random.default_rng(0), 4000)
    share = values[is_defect].mean()
    assert drawn.std() == pytest.approx(math.sqrt(share * (1 - share) / 200), rel=0.05)


def test_draws_that_are_all_above_zero_are_more_than_chance_and_never_certain() -> None:
    found = judge_draws(0.2, np.linspace(0.1, 0.3, 1999))
    assert found.interval == pytest.approx((0.105, 0.295))
    assert found.p_value == pytest.approx(2 / 2000)


def test_draws_on_both_sides_of_zero_may_be_chance() -> None:
    found = judge_draws(0.0, np.linspace(-0.1, 0.1, 2001))
    assert found.p_value == 1
    assert judge_draws(0.0, np.zeros(100)) == (0.0, (0.0, 0.0), 1.0)


@pytest.mark.parametrize("count", [2, 3, 15])
def test_one_variance_gives_the_paired_t_test_of_scipy(count: int) -> None:
    differences = np.random.default_rng(count).normal(0.02, 0.05, count)
    found = judge_variances(differences.mean(), [Variance(differences.var(ddof=1) / count, count - 1)])
    expected = stats.ttest_1samp(differences, 0)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_two_variances_give_the_test_of_welch_in_scipy() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(0, 1, 5), random.normal(0.7, 3, 9)
    parts = [Variance(group.var(ddof=1) / len(group), len(group) - 1) for group in (first, second)]
    expected = stats.ttest_ind(first, second, equal_var=False)
    assert judge_variances(first.mean() - second.mean(), parts).p_value == pytest.approx(expected.pvalue)


def test_a_known_variance_gives_the_normal_distribution() -> None:
    found = judge_variances(1.0, [Variance(0.25)])
    assert found.p_value == pytest.approx(2 * stats.norm.sf(2), rel=1e-6)
    assert found.interval == pytest.approx((1 - 1.959964 / 2, 1 + 1.959964 / 2))


def test_without_variance_nothing_can_be_told_of_a_difference() -> None:
    assert judge_variances(0.1, []) == (0.1, None, None)
    assert judge_variances(0.0, [Variance(0.0, 2)]) == (0.0, (0.0, 0.0), 1.0)


def test_holm_by_hand() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, and never less than the one before.
    assert adjust_for_many([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust_for_many([0.6, 0.9]) == [1, 1]
    assert adjust_for_many([]) == []


def test_of_many_true_nulls_one_is_rarely_called_a_difference() -> None:
    """The share of families with any wrong call is at most 5 %, however many there are."""
    random = np.random.default_rng(0)
    families = [min(adjust_for_many(random.uniform(size=28).tolist())) < 0.05 for _ in range(2000)]
    low, high = stats.binomtest(sum(families), 2000).proportion_ci(0.999)
    assert low <= 0.05 <= high + 0.005


@pytest.mark.thorough
@pytest.mark.parametrize(("good", "defect"), [(30, 30), (60, 20)])
def test_the_interval_of_a_difference_holds_the_true_one_about_as_often_as_it_says(good: int, defect: int) -> None:
    """Two runs whose true AUROCs are known, on images whose difficulty both share."""
    random, is_defect = np.random.default_rng(7), np.arange(good + defect) >= good
    truths = [stats.norm.cdf(shift / math.sqrt(2)) for shift in (1.5, 0.9)]
    held, rounds = 0, 300
    for _ in range(rounds):
        shared = random.normal(size=len(is_defect)) * math.sqrt(0.5)
        rows = np.stack(
            [shared + random.normal(size=len(is_defect)) * math.sqrt(0.5) + shift * is_defect for shift in (1.5, 0.9)]
        )
        drawn = redraw("auroc", rows, is_defect, [None, None], random, 300)
        value = np.diff([image_metrics(row, is_defect)["auroc"] for row in rows])[0]
        found = judge_draws(value, drawn[:, 1] - drawn[:, 0])
        assert found.interval is not None
        held += found.interval[0] <= truths[1] - truths[0] <= found.interval[1]
    assert 0.90 <= held / rounds <= 0.985
