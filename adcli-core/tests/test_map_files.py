"""Files of maps and masks hold what the prediction says, whole or not at all; pictures alone show it."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adcli.data.framing import Framing, parse_framing
from adcli.data.photograph import Photograph, Unreadable
from adcli.errors import DataError, OptionError, StorageError
from adcli.pictures.colours import colour_map
from adcli.pipeline import draw, write_map, write_mask
from adcli.report import map_files
from adcli.report.overlays import ALONE, draw_alone
from adcli.scoring.calibration import Calibration
from adcli.scoring.prediction import Prediction

CALIBRATION = Calibration("none", 0.01, (), (), 0.5, 0.5, map_range=(0.0, 1.0))
FRAMINGS = {
    "whole": Framing(),
    "region": parse_framing("5,10,30,20", None, "squash", None),
    "crop": parse_framing(None, "20x30", "squash", None),
    "ignored": parse_framing(None, None, "squash", np.pad(np.ones((4, 6), bool), ((0, 20), (0, 20)))),
}
SIZES = [(40, 60), (41, 67), (700, 300)]


def predict(size: tuple[int, int], framing: Framing | None = None, score: float = 1.0, peak: float = 9.0) -> Prediction:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (*size, 3), np.uint8)
    model_map = random.standard_normal((16, 24), np.float32) / 10
    model_map[5:9, 7:12] = peak
    return Prediction(Photograph("a.png", pixels, ""), score, model_map, CALIBRATION, framing or Framing())


def read(path: Path) -> np.ndarray:
    return np.load(path) if path.suffix == ".npy" else np.asarray(Image.open(path))


@pytest.mark.parametrize("ending", ["tiff", "tif", "npy"])
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("size", SIZES)
def test_a_file_holds_the_map_to_the_bit_and_is_nan_where_it_was_not_looked_at(
    tmp_path: Path, size: tuple[int, int], framing: str, ending: str
) -> None:
    path = tmp_path / f"a.{ending}"
    write_map(predict(size, FRAMINGS[framing]), path)
    found, expected = read(path), predict(size, FRAMINGS[framing]).map
    assert expected is not None
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    assert np.isnan(found).any() == (framing != "whole")
    assert np.nanmax(found) > 5, "not clamped"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_tiff_is_a_plain_one(tmp_path: Path) -> None:
    write_map(predict((41, 67)), tmp_path / "a.tiff")
    with Image.open(tmp_path / "a.tiff") as image:
        assert (image.mode, image.size, image.n_frames) == ("F", (67, 41), 1)  # type: ignore[attr-defined]
        tags = image.tag_v2  # type: ignore[attr-defined]
        (begin,), (count,) = tags[273], tags[279]
    assert (tags[259], count) == (1, 4 * 41 * 67)
    assert begin % 4 == 0
    assert (tmp_path / "a.tiff").stat().st_size == begin + count


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("score", [0.1, 1.0])
@pytest.mark.parametrize("peak", [0.1, 9.0])
def test_a_mask_is_what_is_marked_and_empty_of_a_good_photograph(
    tmp_path: Path, framing: str, score: float, peak: float
) -> None:
    said = predict((41, 67), FRAMINGS[framing], score, peak)
    write_mask(said, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", (67, 41))
        found = np.asarray(image)
    np.testing.assert_array_equal(found, 0 if said.marked is None else said.marked * np.uint8(255))
    assert found.any() == (score > 0.5)


def test_what_cannot_be_written_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = Prediction(Photograph("b.png", np.zeros((4, 4, 3), np.uint8), ""), 1.0, None, CALIBRATION, Framing())
    gone = Prediction(Unreadable("c.png", "c.png: is gone."), float("nan"), None, CALIBRATION, Framing())
    for write in (write_map, write_mask):
        with pytest.raises(OptionError, match=r"b\.png.*only classifies"):
            write(bare, tmp_path / "b.tiff")
        with pytest.raises(DataError, match=r"c\.png: is gone"):
            write(gone, tmp_path / "c.tiff")
        with pytest.raises(StorageError, match="no/a"):
            write(predict((40, 60)), tmp_path / "no/a.tiff")
    for kind in ALONE:
        with pytest.raises(OptionError, match=r"b\.png.*only classifies"):
            draw_alone(bare, kind)
    with pytest.raises(OptionError, match=r"a\.jpg.*\.tiff or \.npy"):
        write_map(predict((40, 60)), tmp_path / "a.jpg")
    undecided = Prediction(
        Photograph("d.png", np.zeros((4, 4, 3), np.uint8), ""), 1.0, np.zeros((2, 2), np.float32), Calibration.none(),
        Framing(),
    )  # fmt: skip
    with pytest.raises(OptionError, match=r"d\.png.*threshold"):
        write_mask(undecided, tmp_path / "d.png")
    monkeypatch.setattr(map_files, "_LARGEST_TIFF", 4 * 40 * 60)
    with pytest.raises(StorageError, match=r"a\.tiff.*4 GiB.*\.npy"):
        write_map(predict((40, 60)), tmp_path / "a.tiff")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("write", "moment"),
    [(write_map, "adcli.report.map_files.strips"), (write_map, "os.fsync"), (write_mask, "os.fsync")],
)
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interruption_leaves_the_file_that_was_there_and_no_half_of_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Prediction, Path], None],
    moment: str,
    error: type[BaseException],
) -> None:
    path = tmp_path / "a.tiff"
    path.write_bytes(b"before")

    def interrupt(*_: object) -> None:
        assert len(list(tmp_path.iterdir())) == 2, "it is being written"
        raise error

    said = predict((700, 300))
    assert said.marked is not None
    monkeypatch.setattr(moment, interrupt)
    with pytest.raises(error):
        write(said, path)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"before"]


def traced(work: Callable[[], object]) -> int:
    """Return the bytes that a call takes at most."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.thorough
def test_large_maps_and_pictures_are_made_a_few_rows_at_a_time(tmp_path: Path) -> None:
    size = (3000, 4000)
    said = predict(size)
    for ending in ("tiff", "npy"):
        assert traced(lambda ending=ending: write_map(said, tmp_path / f"a.{ending}")) < 3000 * 4000
    assert "map" not in vars(said)
    assert said.marked is not None
    for kind in ALONE:
        assert traced(lambda kind=kind: draw_alone(said, kind)) < 2 * 3 * 3000 * 4000, kind


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("size", [*SIZES, (1300, 1100)])
def test_pictures_alone_have_the_photographs_size_and_show_map_and_regions(size: tuple[int, int], framing: str) -> None:
    said, good = (predict(size, FRAMINGS[framing], score) for score in (1.0, 0.1))
    pixels, anomaly_map, marked = good.photograph.pixels, good.map, said.marked
    assert anomaly_map is not None
    assert marked is not None
    colours = colour_map(anomaly_map, (0.0, 1.0))
    share = colours[:, :, 3:]
    grey = pixels.mean(axis=2, keepdims=True)
    plain = {
        "overlay": grey * (1 - share) + colours[:, :, :3] * share,
        "heatmap": colours[:, :, :3],
        "outlines": pixels.astype(float),
    }
    for kind in ALONE:
        found = np.asarray(draw_alone(good, kind), float)
        assert found.shape == (*size, 3)
        np.testing.assert_allclose(found, plain[kind], atol=0.51, err_msg=kind)
        outlined = np.asarray(draw_alone(said, kind), float)
        changed = (outlined != found).any(axis=2)
        assert changed.any() == (kind != "heatmap")
        assert not (changed & marked).any(), "what is marked can be seen"


def test_an_outline_is_the_same_whatever_rows_it_is_drawn_in(monkeypatch: pytest.MonkeyPatch) -> None:
    said = predict((1300, 1100))
    whole = np.asarray(draw_alone(said, "outlines"))
    for slab in (64, 5000):
        monkeypatch.setattr("adcli.report.overlays._SLAB", slab)
        np.testing.assert_array_equal(np.asarray(draw_alone(said, "outlines")), whole)


def test_all_files_of_a_photograph_have_one_beginning_whatever_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.png.npy").write_bytes(b"of somebody")
    for count in (2, 3):
        (said,) = draw([predict((40, 60))], tmp_path, picture="heatmap", maps="npy", masks=True)
        assert said.picture == tmp_path / f"a.png-{count}.png"
        write_map(said, tmp_path / "expected.npy")
        np.testing.assert_array_equal(read(tmp_path / f"a.png-{count}.npy"), read(tmp_path / "expected.npy"))
        assert read(tmp_path / f"a.png-{count}.mask.png").any()
    assert (tmp_path / "a.png.npy").read_bytes() == b"of somebody"


def test_without_a_picture_only_what_is_asked_for_is_written(tmp_path: Path) -> None:
    (said,) = draw([predict((40, 60))], tmp_path / "maps", picture="", maps="tiff")
    assert said.picture is None
    assert [file.name for file in (tmp_path / "maps").iterdir()] == ["a.png.tiff"]
    (said,) = draw([predict((40, 60))], tmp_path / "none", picture="")
    assert not (tmp_path / "none").exists()


def test_files_that_there_are_not_are_refused_before_anything_is_scored(tmp_path: Path) -> None:
    for wrong in ({"picture": "overlays"}, {"maps": "png"}):
        with pytest.raises(OptionError, match="is none of"):
            draw(iter(()), tmp_path, **wrong)  # type: ignore[arg-type]
