"""From what size on defects are found: what is stated is right as often as it says, and more is never found less."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adcli.data.defects import KINDS
from adcli.data.framing import PLAIN, Framing
from adcli.data.source import ImageSource
from adcli.pipeline._drawing_pass import DrawingPass
from adcli.progress import Silent
from adcli.scoring.calibration import Calibration
from adcli.scoring.detection import (
    CONFIDENCE,
    DRAWS,
    PROPOSING,
    SHARE,
    Detection,
    Draw,
    Drawn,
    count_permitted,
    lower_bound,
    search_sizes,
)
from adcli.scoring.runtime import ImageBatch, Scored
from adcli.scoring.scorer import Scorer

SIZES = (3, 6, 12, 24, 48)


def search(shares: Sequence[float], seed: int, draws: int = DRAWS) -> tuple[Detection, list[Drawn]]:
    """Search with defects of which each size is found with a probability."""
    random = np.random.default_rng(seed)

    def score(wanted: Sequence[Draw]) -> Iterator[Drawn]:
        for draw in wanted:
            found = bool(random.uniform() < shares[SIZES.index(draw.size)])
            yield Drawn(draw, 0, (0, 0), (1, 1), (0.5, 0.5), 0.0, found)

    (detection,), drawn = search_sizes(["spot"], [30.0], SIZES, draws, score)
    return detection, drawn


def test_as_many_may_be_missed_as_the_exact_bound_permits() -> None:
    assert [count_permitted(draws) for draws in (71, 72, 109, 110, 145)] == [-1, 0, 0, 1, 2]
    for draws in (72, 110, 300):
        permitted = count_permitted(draws)
        assert lower_bound(draws - permitted, draws) >= SHARE > lower_bound(draws - permitted - 1, draws)


@pytest.mark.parametrize("shares", [(0.94,) * 5, (0.1, 0.6, 0.949, 0.949, 0.949), (0, 0.5, 0.9, 0.93, 1)])
def test_a_size_is_stated_wrongly_no_more_often_than_the_confidence_says(shares: tuple[float, ...]) -> None:
    stated = [search(shares, seed)[0].smallest for seed in range(600)]
    wrong = sum(size is not None and shares[SIZES.index(size)] < SHARE for size in stated)
    # Three standard errors above five in a hundred.
    assert wrong <= 600 * (1 - CONFIDENCE) + 3 * np.sqrt(600 * 0.05 * 0.95)


def test_what_is_always_found_from_a_size_on_is_stated_from_there() -> None:
    detection, drawn = search((0, 0, 1, 1, 1), 0)
    assert (detection.smallest, detection.tests) == (12, ((12, DRAWS, DRAWS),))
    assert detection.bound is not None
    assert detection.bound >= SHARE
    assert len(drawn) == len(SIZES) * PROPOSING + DRAWS


def test_nothing_is_stated_where_larger_ones_are_missed() -> None:
    detection, drawn = search((1, 1, 1, 1, 0.5), 0)
    assert detection.smallest is None
    assert detection.bound is None
    assert len(drawn) == len(SIZES) * PROPOSING


def test_a_size_that_is_refuted_is_followed_by_the_next_larger_one_and_no_more() -> None:
    found = [search((0, 0.8, 0.9, 0.97, 1), seed)[0] for seed in range(200)]
    tested = {tuple(count.size for count in one.tests) for one in found}
    assert {(12, 24), (24,)} <= tested
    assert all(len(sizes) <= 2 and list(sizes) == sorted(sizes) for sizes in tested)
    assert all(one.smallest in (None, one.tests[-1].size) for one in found if one.tests)


def test_the_defects_that_test_are_not_those_that_proposed() -> None:
    _, drawn = search((0, 0, 1, 1, 1), 3)
    tests = [one.draw.number for one in drawn[len(SIZES) * PROPOSING :]]
    assert tests == list(range(PROPOSING, PROPOSING + DRAWS))


def test_a_size_without_room_is_not_stated() -> None:
    def score(wanted: Sequence[Draw]) -> Iterator[Drawn]:
        for draw in wanted:
            if draw.size < 24:
                yield Drawn(draw, 0, (0, 0), (1, 1), (0.5, 0.5), 0.0, True)

    (detection,), _ = search_sizes(["spot"], [30.0], SIZES, DRAWS, score)
    assert detection.smallest == 3
    assert [count.size for count in detection.first] == [3, 6, 12]


def contrast_of(images: ImageBatch) -> Scored:
    """Score how far images differ from a plate of one grey, all in all."""
    differences = np.abs(images.astype(np.float32).mean(axis=3) - 128)
    return differences.sum(axis=(1, 2)), differences


@pytest.fixture
def plates(tmp_path: Path) -> list[Path]:
    paths = []
    for number in range(6):
        values = np.random.default_rng(number).normal(128, 5, (120, 150)).clip(0, 255).astype(np.uint8)
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(values).save(paths[-1])
    return paths


def drawing(paths: list[Path], seed: int = 0, framing: Framing = PLAIN, workers: int = 0) -> DrawingPass:
    source = ImageSource((120, 150), workers=workers, cache_bytes=0, framing=framing)
    scorer = Scorer(contrast_of, source, Calibration.conformal([76_000.0], None, 0.05, "held-out"), 8)
    return DrawingPass(scorer, paths, seed, Silent())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "blur"])
def test_larger_defects_of_higher_contrast_are_never_found_less(kind: str, plates: list[Path]) -> None:
    sizes, contrasts = (3, 8, 20, 50), (10.0, 30.0, 90.0)
    draws = [Draw(kind, contrast, size, number) for contrast in contrasts for size in sizes for number in range(24)]
    found = np.zeros((3, 4))
    scores = np.zeros((3, 4))
    for one in drawing(plates)(draws):
        at = contrasts.index(one.draw.contrast), sizes.index(one.draw.size)
        found[at] += one.found
        scores[at] += one.score / 24
    for values in (found, scores):
        assert (np.diff(values, axis=0) >= 0).all()
        assert (np.diff(values, axis=1) >= 0).all()
    assert found[0, 0] < found[-1, -1] == 24


def test_the_same_seed_draws_the_same_and_another_seed_does_not(plates: list[Path]) -> None:
    draws = [Draw(kind, 30.0, size, number) for kind in KINDS for size in (5, 30) for number in range(6)]
    first, again, other = (
        list(drawing(plates, seed, workers=workers)(draws)) for seed, workers in ((4, 0), (4, 2), (5, 0))
    )
    assert first == again
    assert [one.corner for one in first] != [one.corner for one in other]


def test_a_defect_has_its_place_whatever_else_is_drawn(plates: list[Path]) -> None:
    draws = [Draw(kind, 30.0, 9, number) for kind in KINDS for number in range(6)]
    together = {one.draw: one for one in drawing(plates)(draws)}
    alone = [next(iter(drawing(plates)([draw]))) for draw in draws]
    assert [together[draw]._replace(score=0) for draw in draws] == [one._replace(score=0) for one in alone]


def test_what_was_drawn_can_be_drawn_again(plates: list[Path]) -> None:
    through = drawing(plates)
    for one in through([Draw(kind, 60.0, 11, 3) for kind in KINDS]):
        before, after = through.draw_again(one)
        changed = np.argwhere((before != after).any(axis=2))
        assert (changed.min(axis=0) >= one.corner).all()
        assert (changed.max(axis=0) < np.add(one.corner, one.box)).all()
        assert contrast_of(after[None])[0][0] == pytest.approx(one.score)


def test_nothing_is_drawn_into_ignored_areas(plates: list[Path]) -> None:
    ignored = np.zeros((120, 150), bool)
    ignored[:, 60:] = True
    through = drawing(plates, framing=Framing(ignored=ignored))
    for one in through([Draw(kind, 60.0, size, number) for kind in KINDS for size in (4, 25) for number in range(9)]):
        before, after = through.draw_again(one)
        assert (before[ignored] == after[ignored]).all()
        assert (before != after).any()


def test_few_photographs_are_kept_if_they_are_large(plates: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from adcli.pipeline import _drawing_pass

    draws = [Draw(kind, 30.0, 9, number) for kind in KINDS for number in range(6)]
    expected = list(drawing(plates)(draws))
    monkeypatch.setattr(_drawing_pass, "CACHE_BYTES", 0)
    assert list(drawing(plates)(draws)) == expected
