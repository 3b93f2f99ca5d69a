"""Zones: how the scores of several parts of a photograph become one, and what that promises."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from adcli.data.framing import Framing, Zone, parse_framing, parse_zones
from adcli.errors import DataError, OptionError, RunError
from adcli.scoring.calibration import Calibration
from adcli.scoring.zones import count_below, find_score, find_standing

TWO = (Zone("left", (0, 0, 30, 20)), Zone("right", (25, 10, 30, 20)))
ROWS = [[0.5], [1.0, 2.0, 4.0], [-3.0, -3.0, -1.0, 0.0], [7.0, 7.0], [0.0], [1e-30, 2e-30]]


@pytest.mark.parametrize("good", ROWS)
def test_a_standing_counts_the_good_scores_below_and_grows_with_the_score(good: list[float]) -> None:
    scores = sorted({*good, *(value + step for value in good for step in (-5, -1e-12, 1e-12, 0.3, 2.0)), 1e9, -1e9})
    standings = [find_standing(good, score) for score in scores]
    assert all(left < right or scores[i] == scores[i + 1] for i, (left, right) in enumerate(pairwise(standings)))
    for score, standing in zip(scores, standings, strict=True):
        assert count_below(standing, len(good)) == sum(one < score for one in good)
        assert find_score(good, standing) == pytest.approx(score, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("good", ROWS)
def test_the_kth_good_score_stands_at_k_to_the_bit(good: list[float]) -> None:
    for k in range(1, len(good) + 1):
        if find_standing(good, good[k - 1]) == k:
            assert find_score(good, float(k)) == good[k - 1]


def calibrate(scores: np.ndarray, rate: float) -> Calibration:
    """Return a calibration from the scores of good images in each zone, (n, Z)."""
    names = [f"{i}.png" for i in range(len(scores))]
    zones = {
        f"zone {z}": Calibration.conformal(column, column * 2, rate / scores.shape[1], "held-out").of_images(
            [(float(score), name, name) for score, name in zip(column, names, strict=True)]
        )
        for z, column in enumerate(scores.T)
    }
    return Calibration.of_zones(zones, rate)


def test_a_photographs_p_value_is_the_smallest_of_its_zones_times_their_number() -> None:
    random = np.random.default_rng(0)
    good = random.normal(0, 1, (40, 3)) * [1, 1000, 0.001] + [0, -5, 9]
    calibration = calibrate(good, 0.1)
    for scores in random.normal(0, 1.5, (200, 3)) * [1, 1000, 0.001] + [0, -5, 9]:
        smallest = min((1 + (good[:, z] >= scores[z]).sum()) / 41 for z in range(3))
        joined = calibration.join(scores.tolist())
        assert calibration.p_value(joined) == pytest.approx(min(1, 3 * smallest))
        assert calibration.p_values([joined])[0] == calibration.p_value(joined)


@pytest.mark.parametrize("rate", [0.3, 0.1, 0.05, 0.01])
def test_a_verdict_follows_from_the_p_value(rate: float) -> None:
    random = np.random.default_rng(1)
    calibration = calibrate(random.normal(0, 1, (59, 3)), rate)
    for scores in random.normal(0, 2, (300, 3)):
        joined = calibration.join(scores.tolist())
        p_value = calibration.p_value(joined)
        assert p_value is not None
        assert calibration.is_defect(joined) == (p_value <= calibration.achievable_rate + 1e-12)
        assert bool(calibration.list_found(scores.tolist())) == calibration.is_defect(joined)


def test_good_photographs_are_rejected_no_more_often_than_promised() -> None:
    """Of zones that say nothing of each other, and of zones that say the same."""
    random = np.random.default_rng(2)
    for same in (False, True):
        rejected = []
        for _ in range(300):
            scores = random.normal(0, 1, (39 + 50, 1 if same else 4)).repeat(4 if same else 1, axis=1)
            calibration = calibrate(scores[:39], 0.2)
            assert calibration.achievable_rate == 0.2
            rejected += [bool(calibration.is_defect(calibration.join(row.tolist()))) for row in scores[39:]]
        assert np.mean(rejected) < 0.2 + 3 * math.sqrt(0.2 * 0.8 / 300)
        assert np.mean(rejected) > (0.02 if same else 0.1)


def test_too_few_images_promise_as_much_less_as_there_are_zones() -> None:
    calibration = calibrate(np.random.default_rng(0).normal(size=(19, 4)), 0.01)
    assert calibration.achievable_rate == 4 / 20
    brief = calibration.promise(brief=True)
    assert "at most 1 in 5 good images is rejected (from 19 held-out good images in 4 zones)" in brief
    assert "1 in 100 would need 399 of them" in calibration.promise()
    few = calibrate(np.random.default_rng(0).normal(size=(3, 4)), 0.01)
    assert "promises nothing about false alarms (from 3 held-out good images in 4 zones, too few)" in few.promise()
    alone = calibrate(np.random.default_rng(0).normal(size=(19, 1)), 0.01)
    assert "(from 19 held-out good images in 1 zone)" in alone.promise()


def test_zones_share_the_confidence_out_and_their_bounds_add_up() -> None:
    random = np.random.default_rng(0)
    calibration = calibrate(random.normal(size=(100, 4)), 0.04)
    assert calibration.bound == pytest.approx(4 * (1 - (0.05 / 4) ** (1 / 100)))
    sure = calibrate(random.normal(size=(19, 4)), 0.05).at_rate(0.05, 0.95)
    # A zone needs 1 - (1 - 0.05 / 4) ** n above a confidence of 1 - 0.05 / 4.
    assert "with 95% confidence would need 349 of them" in sure.promise()
    assert "would need" not in calibrate(random.normal(size=(349, 4)), 0.05).at_rate(0.05, 0.95).promise()


def test_the_bound_of_zones_holds_whether_or_not_they_say_the_same() -> None:
    random = np.random.default_rng(4)
    for same in (False, True):
        held = 0
        for _ in range(300):
            scores = random.random((60, 1 if same else 3)).repeat(3 if same else 1, axis=1)
            calibration = calibrate(scores, 0.2)
            # Scores are uniform, so that each zone's rate is what lies above its threshold.
            passed = [zone.find_score(calibration.image_threshold or 0) for zone in calibration.zones.values()]
            true = 1 - (min(passed) if same else np.prod(np.minimum(passed, 1)))
            held += bool(true <= (calibration.bound or 0))
        assert held / 300 >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 300)


def test_another_rate_is_that_of_a_calibration_at_that_rate() -> None:
    good = np.random.default_rng(3).normal(size=(99, 2))
    changed, made = calibrate(good, 0.02).at_rate(0.2), calibrate(good, 0.2)
    assert changed.image_threshold == made.image_threshold
    assert {name: zone.pixel_threshold for name, zone in changed.zones.items()} == {
        name: zone.pixel_threshold for name, zone in made.zones.items()
    }
    assert changed.pixel_threshold == made.pixel_threshold


def test_a_calibration_of_zones_is_read_as_it_was_written(tmp_path: Path) -> None:
    calibration = calibrate(np.random.default_rng(4).normal(size=(9, 2)), 0.25)
    text = calibration.to_json()
    read = Calibration.from_json(text, source=tmp_path / "calibration.json")
    assert read == calibration
    assert read.digest == calibration.digest
    stored = json.loads(text)["zones"]["zone 1"]
    scores = stored["image_scores"]
    # For those who have no adcli: a zone is found defective above this.
    assert stored["image_threshold"] in scores
    assert calibration.image_threshold is not None
    assert stored["image_threshold"] == scores[int(calibration.image_threshold) - 1]
    with pytest.raises(RunError, match="digest differs"):
        Calibration.from_json(text.replace('"zone 1"', '"zone 2"'), source=tmp_path / "calibration.json")


def test_zones_are_named_words() -> None:
    assert parse_zones("1,2,30,40") == (1, 2, 30, 40)
    assert parse_zones("left=0,0,30,20 right=25,10,30,20") == TWO
    assert parse_zones(" 1, 2 ,30, 40 ") == (1, 2, 30, 40)
    assert parse_zones("left=0, 0, 30, 20\nright = 25,10 , 30,20\n") == TWO
    assert parse_zones("only=0,0,30,20") == (Zone("only", (0, 0, 30, 20)),)
    framing = parse_framing("left=0,0,30,20 right=25,10,30,20", None, "squash")
    assert (framing.region, framing.zones) == (None, TWO)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0,0,30,20 0,0,30,20", "must have a name if there are several"),
        ("a=0,0,30,20 0,0,30,20", "must have a name if there are several"),
        ("a b=0,0,30,20", "must have a name"),
        ("=0,0,30,20", "must have a name"),
        ("a/b=0,0,30,20", "must have a name"),
        ("a=0,0,30,20 a=0,0,30,20", "two are called 'a'"),
        ("Left=0,0,30,20 left=0,0,30,20", "two are called 'left'"),
        ("a=0,0,30", "must be X,Y,WIDTH,HEIGHT"),
        (" ".join(f"z{i}=0,0,30,20" for i in range(65)), "may be given 64 times, not 65"),
    ],
)
def test_what_are_no_zones_is_refused(text: str, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        parse_zones(text)


def test_a_crop_must_fit_into_each_zone() -> None:
    with pytest.raises(OptionError, match="must fit into region"):
        parse_framing("left=0,0,60,60 right=0,0,30,20", "40x40", "squash")


def test_a_message_about_a_zone_is_one_line_and_names_it() -> None:
    framing = parse_framing("left=0,0,30,20 right=25,10,30,20", None, "squash")
    with pytest.raises(DataError, match="and --region right=25,10,30,20 reaches to 55 and 30"):
        framing.check((25, 50), "a.png")
    ignored = np.zeros((40, 60), bool)
    ignored[:, 25:] = True
    with pytest.raises(DataError, match=r"a\.png: nothing of --region right=25,10,30,20 is left"):
        replace(framing, ignored=ignored).check((40, 60), "a.png")
    with pytest.raises(OptionError) as caught:
        parse_framing("left=0,0,60,60\nright=0,0,30,20\n", "40x40", "squash")
    assert "\n" not in caught.value.format_message()


def test_the_map_of_a_sheet_lies_at_its_zones_and_the_highest_counts() -> None:
    framing = Framing(zones=TWO)
    assert framing.find_sheet((10, 15)) == (20, 15)
    sheet = np.concatenate([np.full((10, 15), 1, np.float32), np.full((10, 15), 2, np.float32)])
    placed = framing.place(sheet, (40, 60))
    expected = np.full((40, 60), np.nan)
    expected[0:20, 0:30] = 1
    expected[10:30, 25:55] = 2
    np.testing.assert_array_equal(placed, expected)
    np.testing.assert_array_equal(Framing(zones=TWO[::-1]).place(sheet[::-1], (40, 60)), expected)


def test_a_photograph_that_one_zone_does_not_suit_is_refused() -> None:
    with pytest.raises(DataError, match=r"x\.png: is 50 pixels wide and 40 high, and --region right=25,10,30,20"):
        Framing(zones=TWO).check((40, 50), "x.png")
