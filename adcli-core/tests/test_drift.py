"""Watching a stream of scores: p-values are uniform, alarms as rare as promised, changes found where they are."""

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import ks_2samp, kstest

from adcli.data.ordering import order_images
from adcli.scoring import Drift, find_change

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]


def normal(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    return random.normal(size=count)


def few_levels(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Most scores are equal to others."""
    return random.integers(0, 4, count).astype(float)


def all_equal(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    return np.zeros(count)


def p_values(state: Drift, stream: Iterable[float]) -> list[float]:
    return [state.add(float(score)).p_value for score in stream]


def find_alarm(calibrating: Iterable[float], stream: Iterable[float], between: float, seed: int = 0) -> int | None:
    state = Drift.begin(map(float, calibrating), seed=seed)
    return next((i for i, score in enumerate(stream) if state.add(float(score)).statistic >= between), None)


# p-values


@pytest.mark.parametrize("draw", [normal, few_levels, all_equal])
@pytest.mark.parametrize("calibrating", [0, 1, 43])
def test_p_values_are_uniform_and_independent_however_few_scores_calibrate(draw: Draw, calibrating: int) -> None:
    random = np.random.default_rng(calibrating)
    found = np.array(
        [p_values(Drift.begin(draw(random, calibrating), seed=seed), draw(random, 20)) for seed in range(300)]
    )
    assert kstest(found.ravel(), "uniform").pvalue > 0.01
    neighbours = np.corrcoef(found[:, :-1].ravel(), found[:, 1:].ravel())[0, 1]
    assert abs(neighbours) < 4 / math.sqrt(300 * 19)


def test_p_values_among_the_calibration_alone_would_raise_false_alarms() -> None:
    random = np.random.default_rng(0)
    alarmed = 0
    for seed in range(60):
        state = Drift.begin(normal(random, 43), seed=seed)
        known = state.scores[:]
        for score in normal(random, 1000).tolist():
            if state.add(score).statistic >= 10_000:
                alarmed += 1
                break
            state.scores = known[:]
    assert alarmed > 20


def test_high_scores_have_low_p_values() -> None:
    state = Drift.begin(range(99))
    assert p_values(state, [1000]) < [0.01]
    assert p_values(state, [-1000]) > [0.99]


def test_the_order_of_equal_scores_does_not_matter() -> None:
    scores = [0.0] * 10 + [1.0] * 10 + [2.0] * 10
    random = np.random.default_rng(5)

    def last(seed: int) -> float:
        """Return the p-value after scores in some order."""
        return p_values(Drift.begin(seed=seed), [*random.permutation(scores), 1.0])[-1]

    shuffled = [last(seed) for seed in range(400)]
    ordered = [p_values(Drift.begin(seed=seed), [*scores, 1.0])[-1] for seed in range(400, 800)]
    assert ks_2samp(shuffled, ordered).pvalue > 0.01
    assert 10 / 31 < min(ordered) < max(ordered) < 21 / 31


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_has_no_rank(score: float) -> None:
    state = Drift.begin([1.0, 2.0])
    with pytest.raises(ValueError, match="only numbers"):
        state.add(score)
    assert state == Drift.begin([1.0, 2.0])


# The statistic


def test_the_capital_is_a_martingale_in_every_state() -> None:
    state = Drift.begin()
    for step, score in enumerate(np.random.default_rng(0).normal(size=200) + np.linspace(0, 3, 200)):
        for p_value in (0.0, 0.1, 0.5, 0.77, 1.0):
            # Uniform p-values have pairs of equal probability, of which what one wins the other loses.
            gains = [Drift(capitals=state.capitals)._bet(p) for p in (p_value, 1 - p_value)]
            assert sum(gains) / 2 == pytest.approx(1, rel=1e-12), step
        state.add(float(score))
        assert sum(state.capitals) == pytest.approx(1)


def test_the_statistic_counts_the_scores_on_average() -> None:
    random = np.random.default_rng(1)
    reached = []
    for seed in range(2000):
        state = Drift.begin(normal(random, 10), seed=seed)
        p_values(state, normal(random, 20))
        reached.append(state.statistic)
    assert np.mean(reached) == pytest.approx(20, abs=4 * np.std(reached) / math.sqrt(len(reached)))


def test_alarms_are_as_far_apart_as_asked_for() -> None:
    random = np.random.default_rng(2)
    lengths = [find_alarm(normal(random, 20), normal(random, 2000), 50, seed) for seed in range(150)]
    assert np.mean([2000 if length is None else length + 1 for length in lengths]) >= 50


def test_a_drift_of_any_length_gives_a_number() -> None:
    state = Drift.begin(range(100))
    p_values(state, range(100, 6000))
    assert state.statistic == 1e300
    assert all(0 < capital < 1 for capital in state.capitals)


@pytest.mark.thorough
@pytest.mark.parametrize("calibrating", [43, 300])
def test_at_most_one_good_stream_in_ten_raises_an_alarm_and_a_shift_is_found_within_35(calibrating: int) -> None:
    alarmed, delays = 0, []
    for seed in range(1000):
        random = np.random.default_rng((seed, calibrating))
        good, stream = normal(random, calibrating), normal(random, 1000)
        alarmed += find_alarm(good, stream, 10_000, seed) is not None
        stream[200:] += 1
        alarm = find_alarm(good, stream[:600], 10_000, seed)
        delays.append(400 if alarm is None else alarm - 199)
    assert alarmed <= 100
    assert np.median([delay for delay in delays if delay > 0]) <= 35


# Keeping and resuming


@pytest.mark.parametrize("cut", [0, 1, 37, 60])
def test_a_stream_that_was_interrupted_goes_on_as_if_it_had_not_been(cut: int) -> None:
    random = np.random.default_rng(cut)
    good, stream = few_levels(random, 12).tolist(), few_levels(random, 60).tolist()
    whole, begun = Drift.begin(good, seed=7), Drift.begin(good, seed=7)
    steps = [whole.add(score) for score in stream]
    first = [begun.add(score) for score in stream[:cut]]
    resumed = Drift.from_dict(json.loads(json.dumps(begun.to_dict())))
    assert first + [resumed.add(score) for score in stream[cut:]] == steps
    assert resumed == whole
    assert whole.count == 60


def test_the_same_stream_has_the_same_answer_and_another_seed_another() -> None:
    random = np.random.default_rng(3)
    good, stream = normal(random, 20).tolist(), normal(random, 50).tolist()
    first, again = (p_values(Drift.begin(order, seed=1), stream) for order in (good, good[::-1]))
    assert first == again
    assert p_values(Drift.begin(good, seed=2), stream) != first


# Where it changed


@pytest.mark.parametrize("shift", [1.0, -1.0, 3.0])
@pytest.mark.parametrize("calibrating", [0, 43])
def test_a_change_is_found_where_it_is(calibrating: int, shift: float) -> None:
    held, errors = 0, []
    for seed in range(100):
        random = np.random.default_rng(seed)
        stream = normal(random, 180)
        stream[120:] += shift
        found = find_change(normal(random, calibrating), stream)
        assert found is not None
        assert found.earliest <= found.first <= found.latest
        assert found.rises == (shift > 0)
        held += found.earliest <= 120 <= found.latest
        errors.append(abs(found.first - 120))
    assert held >= 90
    assert np.median(errors) <= 3


def test_a_stream_that_is_other_than_the_calibration_from_the_first_score_on_changed_there() -> None:
    found = find_change(np.arange(50) / 10, np.arange(50) / 10 + 100)
    assert found is not None
    assert (found.first, found.earliest, found.rises) == (0, 0, True)


@pytest.mark.parametrize(("calibrating", "stream"), [([1.0, 1.0], [1.0] * 5), ([], [2.0]), ([], [])])
def test_scores_that_do_not_differ_did_not_change(calibrating: list[float], stream: list[float]) -> None:
    assert find_change(calibrating, stream) is None


def test_a_change_did_not_come_after_its_alarm() -> None:
    random = np.random.default_rng(4)
    stream = np.concatenate([normal(random, 60), normal(random, 60) + 2, normal(random, 200) + 20])
    late, early = find_change([], stream), find_change([], stream, 80)
    assert late is not None
    assert early is not None
    assert late.first > 80
    assert early.first <= early.latest <= 80
    assert find_change([1.0, 2.0], [3.0, 4.0], 0) == (0, 0, 0, True)


def test_ranks_alone_count() -> None:
    random = np.random.default_rng(0)
    good, stream = normal(random, 30), np.append(normal(random, 60), normal(random, 40) + 1)
    assert find_change(good, stream) == find_change(np.exp(5 * good), np.exp(5 * stream))
    assert p_values(Drift.begin(good), stream) == p_values(Drift.begin(np.exp(5 * good)), np.exp(5 * stream))


# The order of time


def write_images(folder: Path, names: Iterable[str]) -> Path:
    for level, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (level, level, level)).save(path)
    return folder


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["img10.png", "img9.png", "img1.png"], ["img1.png", "img9.png", "img10.png"]),
        (["2.png", "a.png", "010.png", "9.png"], ["2.png", "9.png", "010.png", "a.png"]),
        (["10-2/1.png", "10-10/1.png", "9-30/2.png"], ["9-30/2.png", "10-2/1.png", "10-10/1.png"]),
        (["good/3.png", "good/1.png", "scratch/2.png"], ["good/1.png", "scratch/2.png", "good/3.png"]),
        (["1" * 200 + ".png", "2.png"], ["2.png", "1" * 200 + ".png"]),
    ],
)
def test_files_are_in_the_natural_order_of_their_paths_or_names(
    tmp_path: Path, names: list[str], order: list[str]
) -> None:
    found = order_images(str(write_images(tmp_path / "images", names)), {})
    assert list(found.names) == order
    assert [path.name for path in found.images] == [Path(name).name for name in order]
    assert found.order == ("the order of their names" if "good/1.png" in names else "the order of their paths")


def test_rows_of_a_table_are_in_their_order_whatever_they_are_for(tmp_path: Path) -> None:
    names = ["b.png", "d.png", "a.png", "c.png"]
    write_images(tmp_path, names)
    rows = zip(names, ("good", "defect", "good", "good"), ("train", "test", "test", "train"), strict=True)
    table = tmp_path / "line.csv"
    table.write_text("image,label,split\n" + "".join(f"{','.join(row)}\n" for row in rows))
    found = order_images(f"table:{table}", {})
    assert list(found.names) == names
    assert found.order == "the order of the table's rows"
