"""What a model says of images is passed on only if it is a number, and a prediction keeps what it may keep."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adcli.data.framing import Framing
from adcli.data.photograph import Photograph, Unreadable
from adcli.data.source import ImageSource, Item
from adcli.errors import TrainingError
from adcli.scoring import prediction as prediction_module
from adcli.scoring import scorer as scorer_module
from adcli.scoring.calibration import Calibration
from adcli.scoring.prediction import Prediction
from adcli.scoring.runtime import ImageBatch, Scored
from adcli.scoring.scorer import Scorer
from adcli.scoring.thresholds import CalibrationPlan, GoodScores

PLAN = CalibrationPlan(method="held-out", rate=0.01)

SIZE = (8, 8)


@pytest.mark.parametrize(("score", "value", "what"), [(np.nan, 0.0, "score is nan"), (1.0, np.inf, "map has values")])
def test_what_is_no_number_is_refused_with_the_image(tmp_path: Path, score: float, value: float, what: str) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        Image.new("RGB", SIZE, (i, i, i)).save(path)

    def runtime(images: ImageBatch) -> Scored:
        last = images[:, 0, 0, 0] == 2
        scores, maps = np.where(last, score, 1.0), np.where(last[:, None, None], value, np.zeros((len(images), *SIZE)))
        return scores.astype(np.float32), maps.astype(np.float32)

    scored = Scorer(runtime, ImageSource(SIZE, workers=0), Calibration.none(), batch_size=2)(paths)
    assert [next(scored).path, next(scored).path] == paths[:2]
    with pytest.raises(TrainingError, match=rf"2\.png: .*{what}"):
        next(scored)


@pytest.mark.parametrize("original", [(40, 120), (120, 40)])
def test_what_a_letterbox_adds_is_no_value_of_the_map(tmp_path: Path, original: tuple[int, int]) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", original[::-1]).save(path)
    maps = np.full((1, 24, 24), 9, np.float32)
    # A third of the model's input is the image; the pixels beside it are shared with the border.
    inner = (0, slice(7, 17)) if original[0] < original[1] else (0, slice(None), slice(7, 17))
    maps[inner] = 1
    source = ImageSource((24, 24), workers=0, framing=Framing(fit="letterbox"))
    good = GoodScores(lambda images: (np.ones(1, np.float32), maps), source, 1, PLAN)
    good.add([Item(path)])
    assert (good.maxima, good.lowest) == ([1.0], 1.0)


def test_calibration_sees_the_values_that_a_prediction_has(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (120, 40)).save(path)
    ignored = np.zeros((40, 120), bool)
    ignored[:, 50:70] = True
    maps = np.random.default_rng(0).random((1, 24, 24), np.float32)
    maps[:, :, 12] = 7
    framing = Framing(region=(10, 0, 100, 40), fit="letterbox", ignored=ignored)
    source = ImageSource((24, 24), workers=0, framing=framing)
    runtime = lambda images: (np.ones(1, np.float32), maps)  # noqa: E731
    (scored,) = Scorer(runtime, source, Calibration.none(), 1)([path])
    whole, good = scored.map, GoodScores(runtime, source, 1, PLAN)
    good.add([Item(path)])
    assert whole is not None
    assert [np.nanmax(whole)] == good.maxima
    assert np.nanmin(whole) == good.lowest
    assert np.isnan(whole[:, 50:70]).all()
    assert np.isnan(whole[:, :10]).all()
    assert np.isnan(whole[:, 110:]).all()
    half = scored.map_at((20, 60))
    assert half is not None
    np.testing.assert_array_equal(np.isnan(half), np.isnan(whole)[::2, ::2])
    assert np.nanmax(half) <= good.maxima[0] + 1e-6


def score_brightness(images: ImageBatch) -> Scored:
    """Score by brightness, with the brightness of each pixel as the map."""
    maps = images.mean(axis=3).astype(np.float32)
    return maps.mean(axis=(1, 2)), maps


def score(*sources: object, **keywords: object) -> Iterator[Prediction]:
    calibration = Calibration.conformal([50.0, 100.0], [60.0, 110.0], 0.4, "held-out")
    source = ImageSource(SIZE, workers=0, **keywords)  # type: ignore[arg-type]
    return Scorer(score_brightness, source, calibration, 2)(sources)  # type: ignore[arg-type]


def test_paths_bytes_arrays_and_photographs_of_the_same_pixels_get_the_same_prediction(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    path = tmp_path / "part.png"
    Image.fromarray(pixels).save(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    found = list(score(path, str(path), path.read_bytes(), pixels, Photograph("mine", pixels, "abc")))
    assert len({(item.score, item.p_value, item.is_defect, item.size) for item in found}) == 1
    assert [item.name for item in found] == [str(path), str(path), "image 3", "image 4", "mine"]
    assert [item.path for item in found] == [path, path, None, None, None]
    assert [item.digest for item in found[:3]] == [digest] * 3
    assert found[4].digest == "abc"
    for item in found[1:]:
        np.testing.assert_array_equal(item.map, found[0].map)


def test_grey_arrays_are_grey_photographs() -> None:
    grey = np.random.default_rng(0).integers(0, 255, (30, 40), dtype=np.uint8)
    one, other = score(grey, np.repeat(grey[:, :, None], 3, axis=2))
    assert one.score == other.score


@pytest.mark.parametrize(
    "array",
    [np.zeros((8, 8, 3)), np.zeros((8, 8, 4), np.uint8), np.zeros((8,), np.uint8), np.zeros((0, 8), np.uint8)],
    ids=["floats", "four channels", "one line", "empty"],
)
def test_arrays_that_are_not_images_are_named_by_position_and_cost_no_other(array: np.ndarray) -> None:
    first, second = score(array, np.zeros((8, 8), np.uint8))
    assert (first.name, first.verdict, first.is_defect, first.p_value) == ("image 1", "unreadable", None, None)
    assert first.problem.startswith("image 1: an image in memory")
    assert np.isnan(first.score)
    assert (second.name, second.problem, second.score) == ("image 2", "", 0)


def mixed(folder: Path, good: str) -> list[Path]:
    """Write images where a letter of ``good`` is ``g``, and what is none where it is ``b``; nothing for ``-``."""
    paths = [folder / f"{i:02}.png" for i in range(len(good))]
    for i, path in enumerate(paths):
        if good[i] == "g":
            Image.new("L", SIZE, i).save(path)
        elif good[i] == "b":
            path.write_bytes(b"no image")
    return paths


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 3, 16])
@pytest.mark.parametrize("good", ["ggg", "b", "bbbb", "gbgbg", "bggggb-", "ggggggb", "-gbbbbbbg", ""])
def test_what_cannot_be_read_has_its_place_and_changes_no_other(
    tmp_path: Path, good: str, batch_size: int, workers: int, overlap: bool
) -> None:
    class Counting:
        """Scores only what there is."""

        def __call__(self, images: ImageBatch) -> Scored:
            assert 0 < len(images) <= batch_size
            return score_brightness(images)

    runtime = Counting()
    if overlap:
        runtime.start = lambda images: lambda: runtime(np.stack(images))  # type: ignore[attr-defined]
    paths = mixed(tmp_path, good)
    source = ImageSource(SIZE, workers=workers, cache_bytes=0)
    found = list(Scorer(runtime, source, Calibration.none(), batch_size)(paths))
    assert [item.path for item in found] == paths
    assert ["g" if item.problem == "" else "b" for item in found] == list(good.replace("-", "b"))
    assert [item.score for item in found if not item.problem] == [i for i, kind in enumerate(good) if kind == "g"]
    for item in found:
        assert (item.verdict == "unreadable") == bool(item.problem)
        assert not item.problem or str(item.path) in item.problem
        assert "--skip-unreadable" not in item.problem


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_that_ends_in_an_error_loses_nothing_before_it(tmp_path: Path, workers: int, batch_size: int) -> None:
    paths = mixed(tmp_path, "ggbggg")

    def broken() -> Iterator[Path]:
        yield from paths
        raise OSError("the network share is gone")

    scorer = Scorer(score_brightness, ImageSource(SIZE, workers=workers), Calibration.none(), batch_size)
    found: list[Path | None] = []
    with pytest.raises(OSError, match="share is gone"):
        found.extend(prediction.path for prediction in scorer(broken()))
    assert found == paths


@pytest.mark.parametrize("overlap", [False, True])
def test_a_batch_that_fails_costs_no_batch_before_it(tmp_path: Path, overlap: bool) -> None:
    def runtime(images: ImageBatch) -> Scored:
        if images.max() >= 4:
            raise RuntimeError("the driver crashed")
        return score_brightness(images)

    def start(images: list[np.ndarray]) -> Callable[[], Scored]:
        scored = runtime(np.stack(images))
        return lambda: scored

    if overlap:
        runtime.start = start  # type: ignore[attr-defined]
    found: list[float] = []
    scorer = Scorer(runtime, ImageSource(SIZE), Calibration.none(), 2)
    with pytest.raises(RuntimeError, match="driver"):
        found.extend(prediction.score for prediction in scorer(mixed(tmp_path, "gggggg")))
    assert found == [0, 1, 2, 3]


def test_with_batches_of_one_each_is_answered_before_the_next_is_asked_for(tmp_path: Path) -> None:
    asked = []

    def stream() -> Iterator[Path]:
        for path in mixed(tmp_path, "gb-gb"):
            asked.append(path)
            yield path

    for prediction in Scorer(score_brightness, ImageSource(SIZE, workers=0), Calibration.none(), 1)(stream()):
        assert prediction.path == asked[-1]
    assert len(asked) == 5


def test_what_cannot_be_read_may_be_known_before() -> None:
    gone = Unreadable("camera 2", "camera 2: does not answer.")
    first, second = score(gone, np.zeros((8, 8), np.uint8))
    assert (first.name, first.problem, first.path) == ("camera 2", "camera 2: does not answer.", None)
    assert (first.map, first.regions, first.size) == (None, (), (0, 0))
    with pytest.raises(ValueError, match="does not answer"):
        first.photograph  # noqa: B018
    assert second.name == "image 2"


def test_pixels_are_there_while_a_prediction_is_handed_on_and_gone_after() -> None:
    arrays = [np.full((20, 20, 3), level, np.uint8) for level in (10, 20, 30)]
    kept = []
    for prediction, array in zip(score(*arrays), arrays, strict=True):
        np.testing.assert_array_equal(prediction.photograph.pixels, array)
        kept.append(prediction)
    assert [item.score for item in kept] == [10, 20, 30]
    assert kept[0].map is not None
    for item in kept:
        with pytest.raises(ValueError, match="were let go"):
            item.photograph  # noqa: B018


def test_a_map_is_interpolated_once_however_often_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = prediction_module.resize_map
    monkeypatch.setattr(prediction_module, "resize_map", lambda *arguments: calls.append(1) or original(*arguments))
    (found,) = score(np.full((20, 20, 3), 200, np.uint8))
    assert found.is_defect
    assert found.regions
    assert found.map is found.map
    assert found.map_at((20, 20)) is found.map
    assert len(calls) == 1


def test_large_photographs_are_computed_fewer_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []

    def count(images: ImageBatch) -> Scored:
        batches.append(len(images))
        return score_brightness(images)

    monkeypatch.setattr(scorer_module, "BATCH_BYTES", 3 * 40 * 40 * 3)
    arrays = [np.full((40, 40, 3), level, np.uint8) for level in range(8)]
    scores = [item.score for item in Scorer(count, ImageSource(SIZE, workers=2), Calibration.none(), 100)(arrays)]
    assert scores == list(range(8))
    assert batches == [3, 3, 2]
